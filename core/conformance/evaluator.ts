/** Whether an evaluator's figures can be believed and repeated. */
import type { MetricRow, Plugin } from "../plugin.ts";
import type { SaeModel } from "../sae.ts";
import type { RecordStream } from "../stream.ts";
import { type BenchOptions, toyRows, toySae, toyStream, withBench } from "./bench.ts";
import { check, checkContribution, checkRefuses, type Subject } from "./check.ts";

export interface EvaluatorSubject extends Subject, BenchOptions {
	/** The SAE to evaluate; a small topk one of width 12 unless given. */
	readonly model?: SaeModel;
	/** Makes the stream to evaluate on, of `width` columns; 512 small random rows unless given. */
	stream?(width: number): RecordStream;
	/** Options that must be refused, each a whole set. */
	readonly wrong?: readonly Readonly<Record<string, unknown>>[];
}

/**
 * Checks an evaluator: it gives rows with the same keys, whose numbers are finite, the same ones again, and leaves the
 * SAE as it is. One that reads a stream refuses a stream without rows and, where there is an SAE, rows of another width,
 * and stops when the command is interrupted.
 *
 * @throws Error that says what does not hold.
 */
export async function checkEvaluator(plugin: Plugin, subject: EvaluatorSubject = {}): Promise<void> {
	const { contribution, options, title } = await checkContribution(plugin, "evaluator", subject);
	const model = subject.model ?? toySae(12, 48, 5);
	const streamOf = subject.stream ?? ((width: number) => toyStream(toyRows(512, width), width));
	await withBench(plugin, subject, async ({ context }) => {
		const reads = contribution.input === "stream" || contribution.input === "rows";
		const evaluate = (stream: RecordStream | undefined, chosen = options, within = context) => {
			if (contribution.input === "own") return contribution.evaluate({}, chosen, within);
			if (contribution.input === "rows") return contribution.evaluate({ stream: stream! }, chosen, within);
			return contribution.evaluate(stream ? { model, stream } : { model }, chosen, within);
		};
		const run = () => evaluate(reads ? streamOf(model.d_in) : undefined);

		const before = JSON.stringify(model);
		const rows = await run();
		checkRows(rows, title);
		check(
			JSON.stringify(await run()) === JSON.stringify(rows),
			`${title}: gives other figures the second time`,
		);
		check(JSON.stringify(model) === before, `${title}: changes the SAE that it evaluates`);
		for (const wrong of subject.wrong ?? []) {
			const parsed = contribution.options.safeParse(wrong);
			if (!parsed.success) continue;
			await checkRefuses(
				() => evaluate(reads ? streamOf(model.d_in) : undefined, parsed.data),
				`${title}: options ${JSON.stringify(wrong)}`,
			);
		}
		if (!reads) return;
		if (contribution.input === "stream") {
			await checkRefuses(
				() => evaluate(streamOf(model.d_in + 1)),
				`${title}: rows of another width than the SAE's`,
			);
		}
		await checkRefuses(
			() => evaluate(toyStream(new Float32Array(0), model.d_in)),
			`${title}: a stream without rows`,
		);
		const interrupted = { ...context, signal: AbortSignal.abort() };
		const finished = await evaluate(streamOf(model.d_in), options, interrupted).then(
			() => true,
			() => false,
		);
		check(
			!finished,
			`${title}: goes on when context.signal is aborted; call signal.throwIfAborted() for every batch`,
		);
	});
}

function checkRows(rows: readonly MetricRow[], title: string): void {
	check(Array.isArray(rows) && rows.length > 0, `${title}: gives no rows`);
	const keys = Object.keys(rows[0]!).join(", ");
	for (const [i, row] of rows.entries()) {
		check(
			Object.keys(row).join(", ") === keys,
			`${title}: row ${i} has the keys ${Object.keys(row)}, row 0 has ${keys}`,
		);
		for (const [key, value] of Object.entries(row)) {
			const sound = value === null || typeof value === "string" || Number.isFinite(value);
			check(sound, `${title}: ${key} of row ${i} is ${value}; it must be a finite number, text or null`);
		}
	}
}

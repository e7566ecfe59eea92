/** Whether what an interpreter says of latents is sound, and the same again. */
import { type Feature, featuresSchema } from "../arrow/features.ts";
import type { Interpretation, LatentToExplain } from "../interpret/interpreter.ts";
import { PassagePool } from "../interpret/pool.ts";
import type { Plugin } from "../plugin.ts";
import { type BenchOptions, withBench } from "./bench.ts";
import { check, checkContribution, checkRefuses, type Subject } from "./check.ts";
import { toyFeatures } from "./features.ts";

export interface InterpreterSubject extends Subject, BenchOptions {
	/** The latents to explain; eight that stand for a word each unless given. */
	readonly features?: readonly Feature[];
	/** Options that must be refused, each a whole set. */
	readonly wrong?: readonly Readonly<Record<string, unknown>>[];
}

/**
 * Checks an interpreter: its columns have names of their own; it names a source where it explains, gives a finite number or
 * null for columns that it has and no others, and says the same again, also when latents come all at once, and copes with
 * latents that were never active.
 *
 * @throws Error that says what does not hold.
 */
export async function checkInterpreter(plugin: Plugin, subject: InterpreterSubject = {}): Promise<void> {
	const { contribution, options, title } = await checkContribution(plugin, "interpreter", subject);
	const features = subject.features ?? toyFeatures(8);
	const nothing: Feature = { ...toyFeatures(1)[0]!, latent: features.length, count: 0, top: [], samples: [] };
	const all: LatentToExplain[] = [...features, nothing].map((feature) => ({
		feature,
		explanation: null,
		source: null,
	}));
	await withBench(plugin, subject, async ({ context }) => {
		const open = async (chosen = options) => {
			const pool = new PassagePool();
			for (const feature of features) pool.add(feature);
			async function* latents() {
				yield* all;
			}
			const interpreter = await contribution.open(
				{ schema: featuresSchema(), pool, latents },
				chosen,
				context,
			);
			check(interpreter, `${title}: gives no interpreter`);
			return interpreter;
		};
		const first = await open();
		const { columns } = first;
		check(new Set(columns).size === columns.length, `${title}: has a column twice: ${columns.join(", ")}`);
		for (const name of columns) {
			check(/^[a-z][a-z0-9_]*$/.test(name), `${title}: the column ${name} must be in snake_case`);
		}
		const one: Interpretation[] = [];
		for (const latent of all) {
			const said = await first.interpret(latent);
			checkSaid(said, columns, `${title}: latent ${latent.feature.latent}`);
			one.push(said);
		}
		await first.close?.();
		const again = await open();
		const together = await Promise.all(all.map((latent) => again.interpret(latent)));
		await again.close?.();
		check(JSON.stringify(together) === JSON.stringify(one), `${title}: says something else the second time`);
		for (const wrong of subject.wrong ?? []) {
			const parsed = contribution.options.safeParse(wrong);
			if (parsed.success) {
				await checkRefuses(() => open(parsed.data), `${title}: options ${JSON.stringify(wrong)}`);
			}
		}
	});
}

function checkSaid(said: Interpretation, columns: readonly string[], where: string): void {
	const { explanation, source, scores } = said;
	check(explanation === null || /\S/.test(explanation), `${where}: an explanation without words; say null`);
	check(
		(explanation === null) === (source === null),
		`${where}: an explanation has a source, and nothing else has`,
	);
	for (const [name, value] of Object.entries(scores)) {
		check(columns.includes(name), `${where}: a score ${name}, which is not among the columns`);
		check(
			value === null || Number.isFinite(value),
			`${where}: ${name} is ${value}; it must be finite or null`,
		);
	}
}

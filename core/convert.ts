/** Writing an SAE in another format, and saying how much of it is still there. */
import { type Comparison, compareSaes, probeRows } from "./compare.ts";
import { EXIT, isSaeError, SaeError } from "./errors.ts";
import { recogniser } from "./load.ts";
import type { Registry } from "./registry.ts";
import type { SaeRuntime } from "./runtime.ts";
import type { SaeModel } from "./sae.ts";

export interface ConvertOptions {
	/** Where to look for the importer that reads it back. */
	readonly registry: Registry;
	/** Puts an SAE on the device. */
	open(model: SaeModel): Promise<SaeRuntime>;
	/** Rows to compare on; {@link probeRows} unless given. */
	readonly rows?: { readonly data: Float32Array; readonly rows: number } | undefined;
}

/** What is known about the SAE that was written, after it was read back. */
export type Outcome =
	/** Both encoded and decoded the same rows. */
	| { readonly kind: "compared"; readonly comparison: Comparison }
	/** They could not be run; `same`: whether their numbers are the same. */
	| { readonly kind: "not run"; readonly same: boolean; readonly why: string }
	/** Nothing reads the format. */
	| { readonly kind: "unread" };

/** Rows that are compared: enough for every kind of code, few enough for a software driver. */
const ROWS = 64;
/** Reconstructions that differ by a larger share are another SAE's. */
const TOO_FAR = 0.1;
/** Up to here it is float32's rounding, where folding changed the form. */
const ROUNDING = 1e-4;

/**
 * Writes an SAE by `write`, reads it back and compares codes and reconstructions.
 *
 * @throws SaeError when what is read back is another SAE.
 */
export async function convert(
	model: SaeModel,
	path: string,
	write: () => Promise<void>,
	{ registry, open, rows }: ConvertOptions,
): Promise<Outcome> {
	await write();
	const importer = await recogniser(path, registry);
	if (!importer) return { kind: "unread" };
	const reread = await importer.read(path);
	const { data, rows: count } = rows ?? { data: probeRows(model, ROWS), rows: ROWS };
	const runners: SaeRuntime[] = [];
	try {
		for (const one of [model, reread]) runners.push(await open(one));
		const comparison = await compareSaes(runners[0]!, runners[1]!, data, count);
		if (comparison.reconstruction > TOO_FAR) {
			throw new SaeError(
				`${path}: what was written encodes and decodes otherwise than what was read (reconstructions differ by ${percent(comparison.reconstruction)}); do not use it`,
			);
		}
		return { kind: "compared", comparison };
	} catch (error) {
		const unknown = model.normalize_activations === "expected_average_only_in";
		if (!isSaeError(error) || !(unknown || error.exitCode === EXIT.device)) throw error;
		return { kind: "not run", same: sameNumbers(model, reread), why: error.message };
	} finally {
		for (const runner of runners) runner.close();
	}
}

/** One line that calls nothing lossless that isn't. */
export function verdict(outcome: Outcome): { readonly lossless: boolean; readonly text: string } {
	if (outcome.kind === "unread")
		return { lossless: false, text: "nothing reads this format back, so it is not compared" };
	if (outcome.kind === "not run") {
		const { same, why } = outcome;
		const numbers = same ? "every number is the same" : "the form has changed";
		return { lossless: same, text: `${numbers}; codes were not compared: ${why}` };
	}
	const { identical, rows, codes, other, value, reconstruction } = outcome.comparison;
	const on = `on ${rows} rows with ${codes} codes`;
	if (identical)
		return { lossless: true, text: `lossless: the same codes and reconstructions, bit by bit, ${on}` };
	const differences = `${percent(value)} (codes), ${percent(reconstruction)} (reconstructions) and ${percent(other)} of other latents`;
	const rounding = value <= ROUNDING && reconstruction <= ROUNDING && other === 0;
	return {
		lossless: false,
		text: rounding
			? `the same up to rounding ${on}: at most ${differences} apart`
			: `not lossless ${on}: up to ${differences} apart`,
	};
}

function percent(share: number): string {
	return `${Number((100 * share).toPrecision(2))} %`;
}

function sameNumbers(a: SaeModel, b: SaeModel): boolean {
	const names = Object.keys(a.tensors);
	if (a.architecture !== b.architecture || names.length !== Object.keys(b.tensors).length) return false;
	return names.every((name) => {
		const [x, y] = [a.tensors[name]!.data, b.tensors[name]?.data];
		return x.length === y?.length && x.every((value, i) => value === y[i]);
	});
}

/**
 * What the kernels of a TopK step have to move and to compute, by their labels, from formulas.
 *
 * Bytes are those that must cross the device's memory once: every array that is read or written counts in full, and only
 * once, so that what many threads read again is expected in caches. A table of which E entries name rows counts min(E, n)
 * rows. An addition and a multiplication are an operation each; comparisons are none.
 */
import { halfWidth } from "../kernels/halve.ts";
import { DEPTH, roundUp, TILE } from "../kernels/layout.ts";
import { GROUP } from "../kernels/matmul.ts";
import type { Size } from "./common.ts";

/** What computes the operations. */
export type Unit = "f32" | "tensor";

export interface Count {
	readonly bytes: number;
	readonly operations: number;
	readonly unit: Unit;
}

/** Operations of Adam on one number, and of keeping a row at unit norm. */
const ADAM = 14;
const UNIT_NORM = 7;

/** A formula for the labels that it matches. */
type Rule = readonly [label: RegExp, bytes: number, operations?: number];

/** `halved`: the product is one of tensor cores. Nothing for labels whose work depends on the data, or that are not known. */
export function countsOf(
	{ d_in, d_sae, k, batch }: Size,
	halved: boolean,
): (label: string) => Count | undefined {
	const d = roundUp(d_in, DEPTH);
	const n = roundUp(d_sae, TILE);
	const [rows, W] = [4 * batch * d, 4 * n * d];
	const [halfRows, halfW] = [2 * batch * halfWidth(d), 2 * n * halfWidth(d)];
	/** Entries, and the rows of a table that they name. */
	const E = batch * k;
	const named = 4 * Math.min(E, n) * d;
	/** A maximum, or a summary, of every few pre-activations. */
	const fours = (4 * batch * n) / GROUP;
	const product = 2 * batch * n * d;
	const rules: readonly Rule[] = [
		// Rows arrive; they and what the encoder sees are written.
		[/^prepare rows$/, 3 * rows, 2 * batch * d],
		[/^halve rows$/, rows + halfRows, 2 * batch * d],
		[/^halve W_enc$/, W + halfW, 2 * n * d],
		[/^encoder product$/, halved ? halfRows + halfW + fours : rows + W + fours + 4 * batch * n, product],
		// Maxima are read, the few groups that matter, and codes written: value and index.
		[/^select reconstruction$/, fours + 4 * GROUP * E + 8 * E],
		// Candidates are at least as many as codes.
		[/^list reconstruction$/, fours + 4 * E],
		[/^exact reconstruction$/, named + rows + 8 * E, 2 * E * d],
		[/^rank reconstruction$/, 16 * E],
		// Codes and their rows of W_dec; rows are read, errors written.
		[/^decode reconstruction$/, named + 8 * E + 2 * rows, 2 * E * d],
		[/^loss$/, 12 * batch],
		[/^code slopes$/, named + rows + 8 * E, 2 * E * d],
		[/^count entries$/, 8 * E + 4 * n],
		[/: (blocks|add)$/, 8 * n],
		[/^scatter entries$/, 16 * E + 4 * n],
		// From row and code, with value and slope, to 16 bytes; sums, counts and firings of each latent.
		[/^order entries$/, 32 * E + 16 * n, 4 * E],
		[/^(count|list) segments$/, 8 * n],
		[/^sum (errors|residual)$/, rows, batch * d],
		[/^residual deviations$/, rows, 3 * batch * d],
		[/^through the encoder$/, W, 2 * n * d],
		[/^b_dec gradient$/, 12 * d],
		// Weights and both moments are read and written.
		[/^update W_enc$/, 16 * E + rows + 6 * W, 2 * E * d + ADAM * n * d],
		[/^update W_dec$/, 16 * E + rows + 6 * W, 2 * E * d + (ADAM + UNIT_NORM) * n * d],
		[/^update latent vectors$/, 28 * n, ADAM * n],
		[/^update b_dec$/, 28 * d, ADAM * d],
		[/^count silence$/, 16 * n],
		[/^list dead$/, 8 * n],
	];
	return (label) => {
		const rule = rules.find(([labels]) => labels.test(label));
		if (!rule) return undefined;
		const [, bytes, operations = 0] = rule;
		return { bytes, operations, unit: halved && label === "encoder product" ? "tensor" : "f32" };
	};
}

/** Whether two SAEs are the same, by what they make of rows. */
import { transposed } from "./matrix.ts";
import { CounterRng } from "./random.ts";
import type { SaeRuntime } from "./runtime.ts";
import type { Codes, SaeModel } from "./sae.ts";

export interface Comparison {
	readonly rows: number;
	/** Codes of the first SAE. */
	readonly codes: number;
	/** Whether codes and reconstructions are the same bit by bit. */
	readonly identical: boolean;
	/** Codes that only one of the two SAEs has, as a share of those of the first. */
	readonly other: number;
	/** The largest difference of a code that both have, as a share of the largest code. */
	readonly value: number;
	/** The largest difference of a reconstruction, as a share of its largest value. */
	readonly reconstruction: number;
}

type Runner = Pick<SaeRuntime, "encode" | "decode">;

/**
 * Encodes and decodes the same rows with both.
 *
 * @param data rows of d_in values, e.g. {@link probeRows}.
 */
export async function compareSaes(
	first: Runner,
	second: Runner,
	data: Float32Array,
	rows: number,
): Promise<Comparison> {
	const [a, b] = [await first.encode(data, rows), await second.encode(data, rows)];
	const [x, y] = [await first.decode(a, data), await second.decode(b, data)];
	const { other, value } = compareCodes(a, b);
	const reconstruction = farthest(x, y) / (largest(x) || 1);
	return {
		rows,
		codes: a.index.length,
		identical: other === 0 && value === 0 && reconstruction === 0,
		other: other / Math.max(1, a.index.length),
		value: value / (largest(a.value) || 1),
		reconstruction,
	};
}

/** How many codes only one has, and the largest difference of the others. */
function compareCodes(a: Codes, b: Codes): { other: number; value: number } {
	let other = 0;
	let value = 0;
	for (let row = 0; row < a.rows; row++) {
		let [i, j] = [a.offsets[row]!, b.offsets[row]!];
		const [endOfA, endOfB] = [a.offsets[row + 1]!, b.offsets[row + 1]!];
		while (i < endOfA || j < endOfB) {
			const [left, right] = [i < endOfA ? a.index[i]! : Infinity, j < endOfB ? b.index[j]! : Infinity];
			if (left === right) value = Math.max(value, Math.abs(a.value[i]! - b.value[j]!));
			else other++;
			if (left <= right) i++;
			if (right <= left) j++;
		}
	}
	return { other, value };
}

function largest(values: Float32Array): number {
	return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

function farthest(a: Float32Array, b: Float32Array): number {
	return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);
}

/**
 * Rows [rows, d_in] that an SAE finds something in: each is made of a few encoder directions, long enough to pass the
 * thresholds of their latents, and a little of noise.
 */
export function probeRows(
	{ d_in, d_sae, tensors, apply_b_dec_to_input }: SaeModel,
	rows: number,
	seed = 1,
): Float32Array {
	const random = new CounterRng(seed);
	const W_enc = tensors.W_enc!;
	const keys = W_enc.data.length / d_in;
	const directions = transposed(W_enc.data, d_in, keys);
	const at = (name: string, latent: number) => Math.abs(tensors[name]?.data[latent] ?? 0);
	const out = new Float32Array(rows * d_in);
	let draw = 0;
	for (let row = 0; row < rows; row++) {
		const target = out.subarray(row * d_in, (row + 1) * d_in);
		for (let i = 0; i < d_in; i++) {
			const bias = apply_b_dec_to_input ? tensors.b_dec!.data[i]! : 0;
			target[i] = bias + 0.2 * (random.uniform(draw++) - 0.5);
		}
		for (let part = 0; part < 4; part++) {
			const key = Math.floor(random.uniform(draw++) * keys);
			const direction = directions.subarray(key * d_in, (key + 1) * d_in);
			const square = direction.reduce((sum, value) => sum + value * value, 0);
			const wanted = keys === d_sae ? at("threshold", key) + at("b_enc", key) + at("b_gate", key) : 1;
			const scale = square > 0 ? ((1 + random.uniform(draw++)) * (wanted + 1)) / square : 0;
			for (let i = 0; i < d_in; i++) target[i]! += scale * direction[i]!;
		}
	}
	return out;
}

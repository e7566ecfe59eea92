/**
 * How an SAE's arrays lie on the device. Rows and columns are padded so that no kernel needs a branch at an edge,
 * and matrices with one row per latent are cut into shards that fit the largest binding.
 */

import { GpuError } from "./gpu.ts";

/** Rows and latents come in multiples of this: the largest tile of the encoder product. */
export const TILE = 128;
/** Columns come in multiples of this: the depth of a tile. */
export const DEPTH = 16;

/** A range of latents held in one buffer per matrix. */
export interface Shard {
	/** First latent. */
	readonly start: number;
	/** Latents, a multiple of TILE; the last shard's include padding. */
	readonly count: number;
}

export interface Layout {
	readonly d_in: number;
	/** Width of what is reconstructed. */
	readonly d_out: number;
	readonly d_sae: number;
	/** Rows of the encoder: one per latent, or fewer keys that latents share. */
	readonly keys: number;
	/** Largest number of rows of a batch. */
	readonly rows: number;
	/** d_in, d_out, rows and d_sae with padding. Padding is zero and stays zero. */
	readonly width: number;
	readonly outWidth: number;
	readonly paddedRows: number;
	readonly latents: number;
	readonly paddedKeys: number;
	readonly shards: readonly Shard[];
	/** Of the encoder; the same as the others unless latents share keys. */
	readonly keyShards: readonly Shard[];
	/** Pre-activations are made for this many rows at a time, so that their memory is bounded. */
	readonly chunkRows: number;
}

/** Bytes of pre-activations kept at a time, at the most. */
const PRE_ACTIVATION_BYTES = 2 ** 30;

export function planLayout(
	size: {
		readonly d_in: number;
		readonly d_out?: number | undefined;
		readonly d_sae: number;
		readonly keys?: number | undefined;
		readonly rows: number;
	},
	maxBinding: number,
): Layout {
	const { d_in, d_out = d_in, d_sae, keys = d_sae, rows } = size;
	const width = roundUp(d_in, DEPTH);
	const outWidth = roundUp(d_out, DEPTH);
	const latents = roundUp(d_sae, TILE);
	const paddedRows = roundUp(rows, TILE);
	// The optimiser keeps two numbers per weight in one buffer, the largest of those that are sharded.
	const perShard = Math.floor(maxBinding / (Math.max(width, outWidth) * 8) / TILE) * TILE;
	if (perShard === 0) throw new GpuError(`rows of d_in ${d_in} are too wide for this device`);
	const paddedKeys = roundUp(keys, TILE);
	const shards = cut(latents, perShard);
	const budget = Math.min(maxBinding, PRE_ACTIVATION_BYTES);
	const fitting = Math.max(TILE, Math.floor(budget / (paddedKeys * 4) / TILE) * TILE);
	return {
		d_in,
		d_out,
		d_sae,
		keys,
		rows,
		width,
		outWidth,
		paddedRows,
		latents,
		paddedKeys,
		shards,
		keyShards: keys === d_sae ? shards : cut(paddedKeys, perShard),
		chunkRows: Math.min(paddedRows, fitting),
	};
}

function cut(length: number, most: number): Shard[] {
	return Array.from({ length: Math.ceil(length / most) }, (_, i) => ({
		start: i * most,
		count: Math.min(most, length - i * most),
	}));
}

export function roundUp(value: number, multiple: number): number {
	return Math.ceil(value / multiple) * multiple;
}

/** Copies a row-major [rows, columns] array into one whose rows have `width` columns, zero-filled. */
export function padRows(data: Float32Array, columns: number, width: number, rows: number): Float32Array {
	if (columns === width && data.length === rows * width) return data;
	const padded = new Float32Array(rows * width);
	for (let row = 0; row * columns < data.length; row++) {
		padded.set(data.subarray(row * columns, (row + 1) * columns), row * width);
	}
	return padded;
}

/** The reverse of {@link padRows}. */
export function unpadRows(data: Float32Array, columns: number, width: number, rows: number): Float32Array {
	if (columns === width) return data.subarray(0, rows * columns);
	const tight = new Float32Array(rows * columns);
	for (let row = 0; row < rows; row++) {
		tight.set(data.subarray(row * width, row * width + columns), row * columns);
	}
	return tight;
}

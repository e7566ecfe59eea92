/** The encoder product and what follows it, chunk by chunk, so that pre-activations need bounded memory. */
import type { Gpu } from "../../kernels/gpu.ts";
import type { Layout } from "../../kernels/layout.ts";
import { encoderProduct, GROUP, tileFor, tileGroups } from "../../kernels/matmul.ts";
import { type Dispatch, dispatch } from "../../kernels/program.ts";
import type { ParameterStore } from "./parameters.ts";

export interface Chunk {
	/** Pre-activations [chunkRows, latents] of the rows from `firstRow`. */
	readonly pre: GPUBuffer;
	/** Their maxima over every four latents. */
	readonly maxima: GPUBuffer;
	readonly firstRow: number;
	readonly chunkRows: number;
}

/**
 * Dispatches that encode `xc` [paddedRows, width] and, for every chunk, those that `select` adds. `allocate` makes
 * the buffers in between, which belong to the caller.
 */
export function encoderDispatches(
	gpu: Gpu,
	layout: Layout,
	inputs: { readonly xc: GPUBuffer; readonly parameters: ParameterStore },
	allocate: (label: string, floats: number) => GPUBuffer,
	select: (chunk: Chunk) => Dispatch[],
): Dispatch[] {
	const { width, latents, chunkRows, shards } = layout;
	const tile = tileFor(gpu.info);
	const code = encoderProduct(tile);
	const pre = allocate("pre-activations", chunkRows * latents);
	const maxima = allocate("pre-activation maxima", (chunkRows * latents) / GROUP);
	const dispatches: Dispatch[] = [];
	for (let firstRow = 0; firstRow < layout.rows; firstRow += chunkRows) {
		const rows = Math.min(chunkRows, layout.paddedRows - firstRow);
		for (const [s, shard] of shards.entries()) {
			const place = gpu.uniform("place", 16);
			gpu.write(place, new Uint32Array([firstRow, shard.start, width / 4, latents / 4]));
			const { W_enc, b_enc } = inputs.parameters;
			dispatches.push(
				dispatch(
					gpu,
					"encoder product",
					code,
					[place, inputs.xc, W_enc[s]!, b_enc, pre, maxima],
					tileGroups(tile, rows, shard.count),
				),
			);
		}
		dispatches.push(...select({ pre, maxima, firstRow, chunkRows: rows }));
	}
	return dispatches;
}

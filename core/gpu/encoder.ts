/** The encoder product, chunk by chunk, so that pre-activations need bounded memory. */
import type { Gpu } from "../../kernels/gpu.ts";
import type { Layout } from "../../kernels/layout.ts";
import { encoderProduct, GROUP, type MaximaOf, tileFor, tileGroups } from "../../kernels/matmul.ts";
import { type Dispatch, dispatch } from "../../kernels/program.ts";
import type { ParameterStore } from "./parameters.ts";

export interface Chunk {
	/** Pre-activations [chunkRows, paddedKeys] of the rows from `firstRow`. */
	readonly pre: GPUBuffer;
	/** Their maxima over every four latents. */
	readonly maxima: GPUBuffer;
	readonly firstRow: number;
	/** Rows of the chunk, padding included. */
	readonly chunkRows: number;
	readonly product: readonly Dispatch[];
}

export interface EncoderOptions {
	/** What is encoded, [paddedRows, width]. */
	readonly input: GPUBuffer;
	readonly parameters: ParameterStore;
	readonly maximaOf: MaximaOf;
	/** Every chunk keeps memory of its own, for selections that look at the whole batch before they decide. */
	readonly keep: boolean;
	/** Make the buffers in between, which belong to the caller. */
	floats(label: string, count: number): GPUBuffer;
	constants(...words: number[]): GPUBuffer;
}

/** The chunks of a batch, each with the dispatches that make its pre-activations. */
export function encoderChunks(gpu: Gpu, layout: Layout, options: EncoderOptions): Chunk[] {
	const { width, paddedKeys, chunkRows, keyShards } = layout;
	const { input, parameters, maximaOf, keep, floats, constants } = options;
	const tile = tileFor(gpu.info);
	const code = encoderProduct(tile, maximaOf);
	const room = () => ({
		pre: floats("pre-activations", chunkRows * paddedKeys),
		maxima: floats("pre-activation maxima", (chunkRows * paddedKeys) / GROUP),
	});
	let memory = room();
	const chunks: Chunk[] = [];
	for (let firstRow = 0; firstRow < layout.rows; firstRow += chunkRows) {
		if (keep && firstRow > 0) memory = room();
		const { pre, maxima } = memory;
		const rows = Math.min(chunkRows, layout.paddedRows - firstRow);
		const product = keyShards.map((shard, s) => {
			const place = constants(firstRow, shard.start, width / 4, paddedKeys / 4);
			return dispatch(
				gpu,
				"encoder product",
				code,
				[place, input, parameters.W_enc.weights[s]!, parameters.row("b_enc"), pre, maxima],
				tileGroups(tile, rows, shard.count),
			);
		});
		chunks.push({ pre, maxima, firstRow, chunkRows: rows, product });
	}
	return chunks;
}

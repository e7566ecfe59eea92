/** The encoder product, chunk by chunk, so that pre-activations need bounded memory. */
import type { Gpu } from "../../kernels/gpu.ts";
import { halfWidth, halveRows } from "../../kernels/halve.ts";
import type { Layout } from "../../kernels/layout.ts";
import { encoderProduct, GROUP, type MaximaOf, tileFor, tileGroups } from "../../kernels/matmul.ts";
import { type Dispatch, dispatch, submit } from "../../kernels/program.ts";
import type { HalfProduct } from "../../kernels/tensor-product.ts";
import type { ParameterStore } from "./parameters.ts";

export interface Chunk {
	/**
	 * Pre-activations [chunkRows, paddedKeys] of the rows from `firstRow`. Where operands were halved there are none until
	 * a selection makes those that it needs.
	 */
	readonly pre: GPUBuffer;
	/** Of every four latents: their maximum, or where operands were halved a summary (tensor-product.ts). */
	readonly fours: GPUBuffer;
	readonly firstRow: number;
	/** Rows of the chunk, padding included. */
	readonly chunkRows: number;
	readonly product: readonly Dispatch[];
	/** Set where the operands were halved, so that summaries are only true to a margin. */
	readonly halved?: Halved;
}

/** What it takes to know pre-activations exactly that came from halved operands. */
export interface Halved {
	readonly input: GPUBuffer;
	readonly parameters: ParameterStore;
	/** Of the input's rows, and of what halving took from them. */
	readonly norms: GPUBuffer;
	/** The largest of either among latents' encoders. */
	readonly largest: GPUBuffer;
}

export interface EncoderOptions {
	/** What is encoded, [paddedRows, width]. */
	readonly input: GPUBuffer;
	readonly parameters: ParameterStore;
	readonly maximaOf: MaximaOf;
	/** Every chunk keeps memory of its own, for selections that look at the whole batch before they decide. */
	readonly keep: boolean;
	/** Operands may be halved, where that is faster: whoever selects computes what it selects again. */
	readonly reranked: boolean;
	/** W_enc is there and stays as it is, so that what is made of it once is good for every batch. */
	readonly fixed?: boolean;
	/** Make the buffers in between, which belong to the caller. */
	floats(label: string, count: number): GPUBuffer;
	constants(...words: number[]): GPUBuffer;
}

/** The dispatches of the product of some rows with a shard of W_enc. */
type Product = (
	place: { firstRow: number; rows: number; shard: number },
	out: Pick<Chunk, "pre" | "fours">,
) => Dispatch;

/** The chunks of a batch, each with the dispatches that make its pre-activations. */
export function encoderChunks(gpu: Gpu, layout: Layout, options: EncoderOptions): Chunk[] {
	const { paddedKeys, chunkRows, keyShards } = layout;
	const { keep, floats } = options;
	const halved =
		gpu.halfProduct && options.reranked ? halve(gpu, gpu.halfProduct, layout, options) : undefined;
	const product = halved?.product ?? wholeProduct(gpu, layout, options);
	const room = () => ({
		pre: floats("pre-activations", chunkRows * paddedKeys),
		fours: floats("pre-activations by fours", (chunkRows * paddedKeys) / GROUP),
	});
	let memory = room();
	const chunks: Chunk[] = [];
	for (let firstRow = 0; firstRow < layout.rows; firstRow += chunkRows) {
		if (keep && firstRow > 0) memory = room();
		const { pre, fours } = memory;
		const rows = Math.min(chunkRows, layout.paddedRows - firstRow);
		chunks.push({
			pre,
			fours,
			firstRow,
			chunkRows: rows,
			product: [
				...(firstRow === 0 && halved ? halved.before : []),
				...keyShards.map((_, shard) => product({ firstRow, rows, shard }, memory)),
			],
			...(halved && { halved }),
		});
	}
	return chunks;
}

function wholeProduct(gpu: Gpu, layout: Layout, options: EncoderOptions): Product {
	const { width, paddedKeys, keyShards } = layout;
	const { input, parameters, constants } = options;
	const tile = tileFor(gpu, layout.chunkRows, paddedKeys);
	const code = encoderProduct(tile, options.maximaOf);
	return ({ firstRow, rows, shard }, out) => {
		const { start, count } = keyShards[shard]!;
		const place = constants(firstRow, start, width / 4, paddedKeys / 4);
		return dispatch(
			gpu,
			"encoder product",
			code,
			[place, input, parameters.W_enc.weights[shard]!, parameters.row("b_enc"), out.pre, out.fours],
			tileGroups(tile, rows, count),
		);
	};
}

/** Halves of both operands; those of weights that change are made anew for every batch, others now. */
function halve(gpu: Gpu, halfProduct: HalfProduct, layout: Layout, options: EncoderOptions) {
	const { width, paddedRows, paddedKeys, keyShards } = layout;
	const { input, parameters, maximaOf, fixed = false, floats, constants } = options;
	const pitch = halfWidth(width);
	const [scales, norms] = [floats("scales of rows", paddedRows), floats("norms of rows", 2 * paddedRows)];
	const latentScales = floats("scales of latents", paddedKeys);
	const latentNorms = floats("norms of latents", 2 * paddedKeys);
	const largest = floats("largest encoder norms", 2);
	const halves = (rows: number) => floats("halves", (rows * pitch) / 2);
	const inputHalves = halves(paddedRows);
	const shards = keyShards.map(({ count }) => halves(count));
	const place = (first: number, rows: number) => constants(first, rows, width / 4, pitch / 4);
	const { weights } = parameters.W_enc;
	const inputRows = dispatch(
		gpu,
		"halve rows",
		halveRows({ rows: "inputs", clears: !fixed }),
		// A kernel has only the bindings that it uses.
		[place(0, layout.rows), input, inputHalves, scales, norms, ...(fixed ? [] : [largest])],
		layout.rows,
	);
	const latentRows = keyShards.map(({ start, count }, s) =>
		dispatch(
			gpu,
			"halve W_enc",
			halveRows({ rows: "weights" }),
			[place(start, count), weights[s]!, shards[s]!, latentScales, latentNorms, largest],
			count,
		),
	);
	if (fixed) submit(gpu, latentRows);
	const before = fixed ? [inputRows] : [inputRows, ...latentRows];
	const code = halfProduct.code(maximaOf, width);
	const product: Product = ({ firstRow, rows, shard }, out) => {
		const { start, count } = keyShards[shard]!;
		const place = constants(firstRow, start, pitch / 4, paddedKeys / 4);
		return dispatch(
			gpu,
			"encoder product",
			code,
			[
				place,
				inputHalves,
				shards[shard]!,
				scales,
				latentScales,
				norms,
				largest,
				parameters.row("b_enc"),
				out.fours,
			],
			tileGroups(halfProduct, rows, count),
		);
	};
	return { before, product, input, parameters, norms, largest };
}

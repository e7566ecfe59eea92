/** The encoder product, chunk by chunk, so that pre-activations need bounded memory. */
import type { Gpu } from "../../kernels/gpu.ts";
import { halfWidth, halveRows } from "../../kernels/halve.ts";
import type { Layout } from "../../kernels/layout.ts";
import { encoderProduct, GROUP, type MaximaOf, tileFor, tileGroups } from "../../kernels/matmul.ts";
import { type Binding, type Dispatch, dispatch } from "../../kernels/program.ts";
import type { HalfProduct } from "../../kernels/tensor-product.ts";
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
	/** Set where the operands were halved, so that `pre` and `maxima` are only known to a margin. */
	readonly halved?: Halved;
}

/** What it takes to know pre-activations exactly that came from halved operands. */
export interface Halved {
	readonly input: GPUBuffer;
	readonly parameters: ParameterStore;
	/** Of the input's rows (see halve.ts). */
	readonly rowFacts: GPUBuffer;
	/** The largest norm of a latent's encoder. */
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
	/** Make the buffers in between, which belong to the caller. */
	floats(label: string, count: number): GPUBuffer;
	constants(...words: number[]): GPUBuffer;
}

/** The dispatches of the product of some rows with a shard of W_enc. */
type Product = (
	place: { firstRow: number; rows: number; shard: number },
	out: readonly GPUBuffer[],
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
		maxima: floats("pre-activation maxima", (chunkRows * paddedKeys) / GROUP),
	});
	let memory = room();
	const chunks: Chunk[] = [];
	for (let firstRow = 0; firstRow < layout.rows; firstRow += chunkRows) {
		if (keep && firstRow > 0) memory = room();
		const { pre, maxima } = memory;
		const rows = Math.min(chunkRows, layout.paddedRows - firstRow);
		chunks.push({
			pre,
			maxima,
			firstRow,
			chunkRows: rows,
			product: [
				...(firstRow === 0 && halved ? halved.before : []),
				...keyShards.map((_, shard) => product({ firstRow, rows, shard }, [pre, maxima])),
			],
			...(halved && { halved }),
		});
	}
	return chunks;
}

function wholeProduct(gpu: Gpu, layout: Layout, options: EncoderOptions): Product {
	const { width, paddedKeys, keyShards } = layout;
	const { input, parameters, constants } = options;
	const tile = tileFor(gpu.info);
	const code = encoderProduct(tile, options.maximaOf);
	return ({ firstRow, rows, shard }, out) => {
		const { start, count } = keyShards[shard]!;
		const place = constants(firstRow, start, width / 4, paddedKeys / 4);
		return dispatch(
			gpu,
			"encoder product",
			code,
			[place, input, parameters.W_enc.weights[shard]!, parameters.row("b_enc"), ...out],
			tileGroups(tile, rows, count),
		);
	};
}

/** Halves of both operands, made anew for every batch, since weights change from one to the next. */
function halve(gpu: Gpu, halfProduct: HalfProduct, layout: Layout, options: EncoderOptions) {
	const { width, paddedRows, paddedKeys, keyShards } = layout;
	const { input, parameters, maximaOf, floats, constants } = options;
	const pitch = halfWidth(width);
	const rowFacts = floats("facts of rows", paddedRows * 2);
	const latentFacts = floats("facts of latents", paddedKeys * 2);
	const largest = floats("largest encoder norm", 1);
	const rowsOf = (count: number) => floats("halves", (count * pitch) / 2);
	const inputHalves = rowsOf(paddedRows);
	const shards = keyShards.map(({ count }) => rowsOf(count));
	const halves = (
		label: string,
		first: number,
		rows: number,
		from: Binding,
		to: GPUBuffer,
		facts: GPUBuffer,
	) =>
		dispatch(
			gpu,
			`halve ${label}`,
			halveRows({ rows: label === "rows" ? "inputs" : "weights" }),
			[constants(first, rows, width / 4, pitch / 4), from, to, facts, largest],
			rows,
		);
	const before = [
		halves("rows", 0, layout.rows, input, inputHalves, rowFacts),
		...keyShards.map(({ start, count }, s) =>
			halves("W_enc", start, count, parameters.W_enc.weights[s]!, shards[s]!, latentFacts),
		),
	];
	const code = halfProduct.code(maximaOf);
	const product: Product = ({ firstRow, rows, shard }, out) => {
		const { start, count } = keyShards[shard]!;
		const place = constants(firstRow, start, pitch / 4, paddedKeys / 4);
		return dispatch(
			gpu,
			"encoder product",
			code,
			[place, inputHalves, shards[shard]!, rowFacts, latentFacts, parameters.row("b_enc"), ...out],
			tileGroups(halfProduct, rows, count),
		);
	};
	return { before, product, input, parameters, rowFacts, largest };
}

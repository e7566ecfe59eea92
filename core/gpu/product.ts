/** Products of whole matrices that lie as the kernels want them. */
import type { Gpu } from "../../kernels/gpu.ts";
import { roundUp, TILE } from "../../kernels/layout.ts";
import { denseProduct, type ProductUse, tileFor, tileGroups } from "../../kernels/matmul.ts";
import { type Dispatch, dispatch } from "../../kernels/program.ts";

export interface Product {
	/** Rows of A and of the result, a multiple of TILE. */
	readonly rows: number;
	/** Columns of the result, a multiple of 4; B has as many rows, and padding up to a multiple of TILE. */
	readonly columns: number;
	/** Columns of A and of B, a multiple of DEPTH. */
	readonly inner: number;
	readonly a: GPUBuffer;
	readonly b: GPUBuffer;
	readonly out: GPUBuffer;
	/** What becomes of A · Bᵀ; with `subtract`, out = from − A · Bᵀ. */
	readonly use: ProductUse;
	readonly from?: GPUBuffer;
}

export function productDispatch(
	gpu: Gpu,
	label: string,
	{ rows, columns, inner, a, b, out, use, from }: Product,
	constants: (...words: number[]) => GPUBuffer,
): Dispatch {
	const tile = tileFor(gpu, rows, columns);
	const place = constants(0, 0, inner / 4, columns / 4);
	return dispatch(
		gpu,
		label,
		denseProduct(tile, use),
		[place, a, b, out, ...(from ? [from] : [])],
		tileGroups(tile, rows, roundUp(columns, TILE)),
	);
}

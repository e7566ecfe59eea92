/** Sums down columns of any number of rows, in as many passes as it takes. */
import { COLUMN_BLOCK, columnGroups, columnSums } from "../../../kernels/columns.ts";
import { type Dispatch, dispatch } from "../../../kernels/program.ts";
import type { Work } from "../work.ts";

/** Sums `rows` rows of `from`, starting at `first`, into row `row` of `to`; rows can have weights. */
export function sumColumns(
	work: Work,
	label: string,
	width: number,
	from: { buffer: GPUBuffer; first: number; rows: number; weights?: GPUBuffer | undefined },
	to: { buffer: GPUBuffer; row: number },
): Dispatch[] {
	const { gpu, buffers } = work;
	const blocks = Math.ceil(from.rows / COLUMN_BLOCK);
	const sum = (target: GPUBuffer, row: number) =>
		dispatch(
			gpu,
			label,
			columnSums({ width, weighted: from.weights !== undefined }),
			[
				work.constants(from.rows, from.first, row, 0),
				from.buffer,
				target,
				...(from.weights ? [from.weights] : []),
			],
			columnGroups(width, from.rows),
		);
	if (blocks === 1) return [sum(to.buffer, to.row)];
	const scratch =
		from.buffer === buffers.columnScratch
			? work.floats("column sums", blocks * width)
			: buffers.columnScratch;
	return [
		sum(scratch, 0),
		...sumColumns(work, label, width, { buffer: scratch, first: 0, rows: blocks }, to),
	];
}

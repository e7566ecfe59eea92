/** Column sums of any height: blocks of rows are summed into rows, until one is left. */
import { COLUMN_BLOCK, columnGroups, columnSums } from "../../../kernels/columns.ts";
import { type Dispatch, dispatch } from "../../../kernels/program.ts";
import type { Work } from "../work.ts";

/** Sums `rows` rows of `from`, starting at `first`, into row `row` of `to`. */
export function sumColumns(
	work: Work,
	label: string,
	from: { buffer: GPUBuffer; first: number; rows: number },
	to: { buffer: GPUBuffer; row: number },
): Dispatch[] {
	const { gpu, layout, buffers } = work;
	const blocks = Math.ceil(from.rows / COLUMN_BLOCK);
	const sum = (source: GPUBuffer, first: number, rows: number, target: GPUBuffer, row: number) =>
		dispatch(
			gpu,
			label,
			columnSums({ width: layout.width }),
			[work.constants(rows, first, row), source, target],
			columnGroups(layout.width, rows),
		);
	if (blocks === 1) return [sum(from.buffer, from.first, from.rows, to.buffer, to.row)];
	const scratch =
		from.buffer === buffers.columnScratch
			? work.floats("column sums", blocks * layout.width)
			: buffers.columnScratch;
	return [
		sum(from.buffer, from.first, from.rows, scratch, 0),
		...sumColumns(work, label, { buffer: scratch, first: 0, rows: blocks }, to),
	];
}

/** Passes over the rows of W_enc and W_dec, one latent at a time. */
import { type Binding, type Dispatch, dispatch } from "../../../kernels/program.ts";
import {
	type Further,
	mostSegments,
	rowBindings,
	SEGMENT_GROUPS,
	sumSegments,
	type UpdateRowsShape,
	updateRows,
} from "../../../kernels/update.ts";
import { type Matrix, rowsOf } from "../../gpu/parameters.ts";
import { hasUnitRows } from "../plan.ts";
import type { Lists, Work } from "../work.ts";

export interface MatrixTarget {
	readonly name: "W_enc" | "W_dec";
	readonly matrix: "encoder" | "decoder";
	readonly parameter: Matrix;
	readonly lists: Lists;
	readonly source: GPUBuffer;
	readonly unitRows: boolean;
	readonly further?: { readonly part: Further; readonly bindings: readonly [Binding, Binding] };
}

export function matrices(work: Work): MatrixTarget[] {
	const { spec, buffers, parameters, gradientRows, layout, lists } = work;
	const blocks = spec.norm_blocks ?? 1;
	return [
		{
			name: "W_enc",
			matrix: "encoder",
			parameter: parameters.W_enc,
			lists: lists.keys,
			source: buffers.encoderInput,
			unitRows: hasUnitRows(spec, "W_enc"),
			...(spec.revival && {
				further: { part: { kind: "row" }, bindings: [buffers.reviving, buffers.inputSums] },
			}),
		},
		{
			name: "W_dec",
			matrix: "decoder",
			parameter: parameters.W_dec,
			lists: lists.latents,
			source: buffers.error,
			unitRows: hasUnitRows(spec, "W_dec"),
			...(gradientRows.includes("norm") && {
				further: {
					part: { kind: "direction", blocks, columns: layout.d_out / blocks },
					bindings: [gradientRow(work, "norm"), buffers.inverseNorms],
				},
			}),
		},
	];
}

/** Those that Adam changes: all but a W_dec that is made of other parameters. */
export function trainedMatrices(work: Work): MatrixTarget[] {
	return matrices(work).filter(({ parameter }) => parameter.moments.length > 0);
}

/**
 * What `mode` says for every row of a matrix. Gradients are summed from the batch's entries, unless micro-batches have
 * collected them. `norms`: where squared norms go.
 */
export function rowDispatches(
	work: Work,
	target: MatrixTarget,
	mode: UpdateRowsShape["mode"],
	norms?: Binding,
): Dispatch[] {
	const { gpu, shape, buffers, segment, common } = work;
	const { name, matrix, parameter, lists, source, unitRows, further } = target;
	const { control, partial } = buffers;
	const { offsets, entries, segmentOffsets, segmentLatents } = lists;
	const { width, shards } = parameter;
	const kind = { width, threads: gpu.rowThreads(width), rows: shape.rows, segment, matrix };
	const whole = mode !== "collect";
	const rowsShape: UpdateRowsShape = {
		...kind,
		from: common && whole ? "rows" : "entries",
		mode,
		unitRows: unitRows && whole,
		...(further && whole && { further: further.part }),
	};
	const [factors, besides] = further?.bindings ?? [];
	const bound = { offsets, entries, source, control, segmentOffsets, partial, norms, factors };
	const code = updateRows(rowsShape);
	const segments = () =>
		dispatch(
			gpu,
			`sum segments ${name}`,
			sumSegments(kind),
			[segmentOffsets, segmentLatents, offsets, entries, source, partial, work.constants(lists.count)],
			Math.min(mostSegments(lists.room, segment), SEGMENT_GROUPS),
		);
	const rows = shards.map((shard, s) => {
		const own = {
			...bound,
			gradients: common?.gradients[name][s] ?? buffers.decoderGradient,
			moments: parameter.moments[s],
			weights: parameter.weights[s],
			step: buffers.step,
			sums: besides,
			inverse: besides,
		};
		return dispatch(
			gpu,
			`${mode} ${name}`,
			code,
			[
				work.constants(shard.start, rowsOf(shard, parameter.rows)),
				...rowBindings(rowsShape).map((binding) => own[binding]!),
			],
			rowsOf(shard, parameter.rows),
		);
	});
	return rowsShape.from === "entries" ? [segments(), ...rows] : rows;
}

/** The row of this name of the gradient of the latents' vectors. */
export function gradientRow({ buffers, gradientRows, layout }: Work, name: string): Binding {
	const size = layout.latents * 4;
	return { buffer: buffers.vectorGradient, offset: gradientRows.indexOf(name) * size, size };
}

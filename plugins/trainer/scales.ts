/** What rows are multiplied by, from a sample of them, so that one learning rate and one penalty fit all data. */
import type { Core, DataScales, RunState, WholeRows } from "saeflow";
import type { TrainerOptions } from "../trainer.ts";
import type { Columns, Widths } from "./data.ts";

/**
 * Every column of vectors has a scale of its own, so that each source of several counts as much. Where rows have
 * layers, each layer has one instead.
 */
export type Scales = RunState["scales"];

/** Numbers of layers end here (they are uint16 in a stream), which bounds what is kept of them. */
const MOST_LAYERS = 2 ** 16;

/** The scales that bring each column, or each layer, to a root mean square norm of 1; or none. */
export function measureScales(
	core: Core,
	sample: WholeRows,
	widths: Widths,
	columns: Columns,
	{ normalize }: TrainerOptions,
): Scales {
	const side = (data: Float32Array, widths: readonly number[], names: readonly string[]) =>
		widths.map((width, i) => ({
			width,
			scale: normalize === "none" || sample.layers ? 1 : columnScale(core, data, widths, i, names[i]!),
		}));
	if (sample.layers && normalize === "none") {
		throw core.usageError("--per-layer scales each layer's rows, which --normalize none turns off");
	}
	return {
		inputs: side(sample.inputs, widths.inputs, columns.inputs),
		...(sample.targets && { targets: side(sample.targets, widths.targets!, columns.targets!) }),
		...(sample.layers && { layers: layerScales(core, sample, columns.layers!) }),
	};
}

function columnScale(
	core: Core,
	data: Float32Array,
	widths: readonly number[],
	column: number,
	name: string,
): number {
	const total = widths.reduce((sum, width) => sum + width, 0);
	const begin = widths.slice(0, column).reduce((sum, width) => sum + width, 0);
	const end = begin + widths[column]!;
	let square = 0;
	for (let row = 0; row < data.length; row += total) {
		for (let i = row + begin; i < row + end; i++) square += data[i]! * data[i]!;
	}
	const rms = Math.sqrt((square * total) / data.length);
	if (rms > 0) return 1 / rms;
	throw new core.SaeError(`column ${name}: its first rows are all zero: nothing can be learned from them`);
}

function layerScales(core: Core, { inputs, layers }: WholeRows, column: string): number[] {
	const width = inputs.length / layers!.length;
	const most = layers!.reduce((largest, layer) => Math.max(largest, layer), 0);
	if (most >= MOST_LAYERS) {
		throw new core.SaeError(
			`column ${column}: names layer ${most}; layers are numbered from 0 to ${MOST_LAYERS - 1}`,
		);
	}
	const squares = new Float64Array(most + 1);
	const rows = new Float64Array(most + 1);
	for (const [row, layer] of layers!.entries()) {
		for (let i = row * width; i < (row + 1) * width; i++) squares[layer]! += inputs[i]! ** 2;
		rows[layer]!++;
	}
	return Array.from(rows, (count, layer) => {
		if (count === 0) return 0;
		const rms = Math.sqrt(squares[layer]! / count);
		if (rms > 0) return 1 / rms;
		throw new core.SaeError(`layer ${layer}: its first rows are all zero: nothing can be learned from them`);
	});
}

/** As core takes them: one number for one column, else one for each of its values. */
export function dataScales({ inputs, targets = inputs }: Scales): DataScales {
	const factors = (columns: Scales["inputs"]) => {
		if (columns.length === 1) return columns[0]!.scale;
		return Float32Array.from(columns.flatMap(({ width, scale }) => new Array<number>(width).fill(scale)));
	};
	return { input: factors(inputs), target: factors(targets) };
}

/** What each row is multiplied by, where layers have scales. Throws for a layer that the sample did not have. */
export function rowScales(
	core: Core,
	{ layers: scales }: Scales,
	layers: Uint32Array | undefined,
): Float32Array | undefined {
	if (!scales || !layers) return undefined;
	return Float32Array.from(layers, (layer) => {
		const scale = scales[layer];
		if (scale) return scale;
		throw new core.SaeError(
			`layer ${layer} has rows, but none among the first ones, from which scales are taken: mix the layers (--shuffle-buffer) or raise --sample-rows`,
		);
	});
}

/** Rows as a step sees them. */
export function scaledRows(
	core: Core,
	rows: WholeRows,
	scales: Scales,
): { readonly inputs: Float32Array; readonly targets: Float32Array } {
	const { input, target } = dataScales(scales);
	const byRow = rowScales(core, scales, rows.layers);
	const scaled = (data: Float32Array, factor: number | Float32Array) => {
		if (typeof factor !== "number") return data.map((value, i) => value * factor[i % factor.length]!);
		if (!byRow) return data.map((value) => value * factor);
		const width = data.length / byRow.length;
		return data.map((value, i) => value * byRow[Math.floor(i / width)]!);
	};
	const inputs = scaled(rows.inputs, input);
	return { inputs, targets: rows.targets ? scaled(rows.targets, target) : inputs };
}

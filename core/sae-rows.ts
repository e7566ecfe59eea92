/** How an SAE meets a stream: which columns it encodes and reconstructs, and what the rows of its layers are scaled by. */
import type { RecordBatch, Schema } from "apache-arrow";
import type { Vectors } from "./arrow/activations.ts";
import { numberColumn } from "./arrow/numbers.ts";
import { findVectorField } from "./arrow/vectors.ts";
import { LAYER_COLUMN } from "./columns.ts";
import { SaeError } from "./errors.ts";
import { widened } from "./files/dtype.ts";
import { Lane } from "./row-blocks.ts";
import type { SaeModel } from "./sae.ts";

export type SaeShape = Pick<SaeModel, "d_in" | "d_out" | "metadata" | "tensors"> &
	Partial<Pick<SaeModel, "architecture">>;

/** Columns that are named instead of those that the SAE was trained on. */
export interface GivenColumns {
	/** What is encoded, side by side. */
	readonly columns?: readonly string[] | undefined;
	/** What is reconstructed, side by side. */
	readonly targets?: readonly string[] | undefined;
}

/** The rows of a batch as an SAE needs them. */
export interface SaeRows {
	readonly rows: number;
	/** What it encodes [rows, d_in]: float32, or float16 as its bits. */
	readonly inputs: Float32Array | Uint16Array;
	/** What it is to reconstruct [rows, d_out], as the stream has it. */
	targets(): Float32Array;
	/** Its reconstructions [rows, d_out], in the units of the stream. */
	restored(decoded: Float32Array): Float32Array;
}

export interface SaeReader {
	readonly inputs: readonly string[];
	/** Whether the stream has them shows when they are taken. */
	readonly targets: readonly string[];
	/** Of each target column, once rows were read and targets taken. */
	readonly targetWidths: readonly number[];
	/** Takes the stream's batches one after the other, for rows are counted, to be named in errors. */
	read(batch: RecordBatch): SaeRows;
}

/**
 * Reads a stream's rows for an SAE: the columns that are given, or those that its metadata names (`input_columns`,
 * `target_columns`), or the only one. Rows of an SAE of several layers are multiplied by their layer's scale.
 *
 * @throws SaeError for columns that are missing or not as wide as the SAE; reading also for NaN, infinities and layers
 * that the SAE does not know.
 * @example
 * const reader = saeReader(stream.schema, sae);
 * for await (const batch of stream.batches) {
 * 	const { inputs, rows, targets, restored } = reader.read(batch);
 * 	const codes = await runtime.encode(inputs, rows);
 * 	const errors = distance(targets(), restored(await runtime.decode(codes, inputs)));
 * }
 */
export function saeReader(schema: Schema, sae: SaeShape, given: GivenColumns = {}): SaeReader {
	const inputs = inputColumns(schema, sae, given.columns);
	const told = given.targets ?? names(sae.metadata.target_columns);
	const targets = told ?? inputs;
	const { d_in, d_out = d_in } = sae;
	const seen = new Lane(inputs, "vectors");
	const wanted = targets === inputs ? seen : new Lane(targets, "vectors");
	let row = 0;
	return {
		inputs,
		targets,
		get targetWidths() {
			return wanted.widths;
		},
		read(batch) {
			const first = row;
			row += batch.numRows;
			const data = laneRows(seen, batch, d_in, first, "takes");
			const scales = layerScales(sae, batch, first);
			const same = targets === inputs && d_out === d_in;
			return {
				rows: batch.numRows,
				inputs: scales ? scaled(widened(data), scales, (value, scale) => value * scale) : data,
				targets() {
					if (!told && reconstructsUnknown(sae)) throw withoutTargets(sae);
					return widened(same ? data : laneRows(wanted, batch, d_out, first, "reconstructs"));
				},
				restored: (decoded) => (scales ? scaled(decoded, scales, (value, scale) => value / scale) : decoded),
			};
		},
	};
}

/** Of another library, for those that are trained here name their columns. */
function reconstructsUnknown({ architecture, metadata }: SaeShape): boolean {
	return architecture === "transcoder" && metadata.input_columns === undefined;
}

function withoutTargets({ metadata: { hook_name_out: hook } }: SaeShape): SaeError {
	const what = typeof hook === "string" ? hook : "something else than it encodes";
	return new SaeError(`this transcoder reconstructs ${what}; name the column that has it with --target`);
}

function inputColumns(
	schema: Schema,
	{ metadata }: SaeShape,
	given: readonly string[] | undefined,
): readonly string[] {
	const listed = given ?? names(metadata.input_columns);
	const there = listed?.every((name) => schema.fields.some((field) => field.name === name));
	// A single column may have any name, for other programs have names of their own.
	if (!listed || (!given && !there && listed.length === 1)) return [findVectorField(schema).name];
	return listed.map((name) => findVectorField(schema, name).name);
}

/** Metadata may come from any program. */
function names(value: unknown): readonly string[] | undefined {
	const listed = Array.isArray(value) && value.length > 0 && value.every((name) => typeof name === "string");
	return listed ? value : undefined;
}

/** @throws SaeError when the columns are not as wide as the SAE, or hold NaN or infinity. */
function laneRows(
	lane: Lane,
	batch: RecordBatch,
	width: number,
	firstRow: number,
	verb: string,
): Vectors["data"] {
	if (batch.numRows === 0) return new Float32Array();
	lane.receive(batch, firstRow);
	if (lane.width !== width) {
		const [what, have] = lane.columns.length === 1 ? ["column", "has"] : ["columns", "have"];
		throw new SaeError(
			`${what} ${lane.columns.join(", ")}: ${have} vectors of ${lane.widths.join(" + ")} values, this SAE ${verb} ${width}`,
		);
	}
	const data = lane.all() as Vectors["data"];
	lane.checkFinite(data, firstRow);
	return data;
}

/** What the rows of a batch are multiplied by before they are encoded; undefined where layers have no scales. */
export function layerScales(
	{ metadata, tensors }: Pick<SaeModel, "metadata" | "tensors">,
	batch: RecordBatch,
	firstRow: number,
): Float32Array | undefined {
	const scales = tensors.layer_scale?.data;
	if (!scales) return undefined;
	const column = typeof metadata.layers === "string" ? metadata.layers : LAYER_COLUMN;
	const layers = numberColumn(batch, column);
	return Float32Array.from(layers, (layer, row) => {
		const scale = scales[layer];
		if (scale) return scale;
		const known = [...scales.keys()].filter((number) => scales[number]! > 0);
		throw new SaeError(
			`column ${column}: row ${firstRow + row} is of layer ${layer}, but this SAE was trained on layers ${known.join(", ")}`,
		);
	});
}

/** A changed copy of rows [n, width], with a scale each. */
export function scaled(
	data: Float32Array,
	scales: Float32Array,
	change: (value: number, scale: number) => number,
): Float32Array {
	const width = data.length / scales.length;
	return data.map((value, i) => change(value, scales[Math.floor(i / width)]!));
}

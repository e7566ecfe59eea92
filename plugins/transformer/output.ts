/** The stream's columns, and batches of them. */
import { Field, makeData, type RecordBatch, Schema, Uint16, Uint32 } from "apache-arrow";
import type { Core, HookPoint, VectorType } from "saeflow";

/** A hook point, and the column that its values go to. */
export interface Tap {
	readonly column: string;
	readonly point: HookPoint;
}

/** Some rows of a pass. */
export interface Rows {
	/** By tap, [tokens, width]. */
	readonly values: readonly Float32Array[];
	readonly tokens: Uint32Array;
	readonly documents: Uint32Array;
	readonly positions: Uint32Array;
}

export interface Output {
	readonly taps: readonly Tap[];
	readonly schema: Schema;
	/** Rows of the stream that a token gives. */
	readonly perToken: number;
	/** Rows `from` to `to` (exclusive) of what `rows` give; `cursor` is the number of the first. */
	batch(rows: Rows, from: number, to: number, cursor: number): RecordBatch;
}

export function planOutput(
	core: Core,
	taps: readonly Tap[],
	options: {
		readonly layerRows: boolean;
		readonly type: VectorType;
		readonly metadata: Record<string, string>;
	},
): Output {
	const { layerRows, type } = options;
	const [first, ...others] = taps as [Tap, ...Tap[]];
	if (new Set(taps.map(({ column }) => column)).size < taps.length) {
		throw core.usageError("--hook-point: the same one is given twice");
	}
	if (layerRows && taps.some(({ point }) => point.layer === undefined)) {
		throw core.usageError("--layer-rows: every hook point must be in a layer");
	}
	const unlike = layerRows && others.find(({ point }) => point.width !== first.point.width);
	if (unlike) {
		throw core.usageError(
			`--layer-rows: ${first.column} is ${first.point.width} wide, ${unlike.column} ${unlike.point.width}; rows have one width`,
		);
	}
	const single = layerRows || taps.length === 1;
	const vectors = single
		? [core.vectorField("activation", first.point.width, type)]
		: taps.map(({ column, point }) => core.vectorField(column, point.width, type));
	const numbers = ["token", "document", "position"].map((name) => new Field(name, new Uint32(), false));
	const layer = layerRows ? [new Field("layer", new Uint16(), false)] : [];
	const schema = core.labelActivations(new Schema([...vectors, ...numbers, ...layer]), options.metadata);
	const perToken = layerRows ? taps.length : 1;

	const stored = (data: Float32Array) =>
		type === "float16" ? new Uint16Array(new Float16Array(data).buffer) : data;
	const numberData = (data: Uint32Array | Uint16Array, at: number) =>
		makeData({
			type: schema.fields[vectors.length + at]!.type,
			length: data.length,
			nullCount: 0,
			data,
		} as never);

	return {
		taps,
		schema,
		perToken,
		batch({ values, tokens, documents, positions }, from, to, cursor) {
			const rows = to - from;
			const columns = layerRows
				? [interleaved(values, first.point.width, from, to)]
				: values.map((data, i) => data.subarray(from * taps[i]!.point.width, to * taps[i]!.point.width));
			const vectorData = columns.map((data, i) =>
				core.vectorData(vectors[i]!, { data: stored(data), rows, width: data.length / rows, type }),
			);
			const perRow = (of: Uint32Array) =>
				perToken === 1
					? of.subarray(from, to)
					: Uint32Array.from({ length: rows }, (_, i) => of[Math.floor((from + i) / perToken)]!);
			const numbers = [tokens, documents, positions].map((of, i) => numberData(perRow(of), i));
			if (layerRows) {
				const layers = Uint16Array.from(
					{ length: rows },
					(_, i) => taps[(from + i) % perToken]!.point.layer!,
				);
				numbers.push(numberData(layers, 3));
			}
			const metadata = new Map([[core.META.cursor, String(cursor)]]);
			return core.makeBatch(schema, rows, [...vectorData, ...numbers], metadata);
		},
	};
}

/** A token's rows of all layers behind each other: rows `from` to `to` of that order. */
function interleaved(values: readonly Float32Array[], width: number, from: number, to: number): Float32Array {
	const out = new Float32Array((to - from) * width);
	for (let row = from; row < to; row++) {
		const token = Math.floor(row / values.length);
		const source = values[row % values.length]!;
		out.set(source.subarray(token * width, (token + 1) * width), (row - from) * width);
	}
	return out;
}

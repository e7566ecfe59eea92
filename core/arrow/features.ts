/**
 * The features stream: one row per latent, with when it is active and what for. What reports, explanations and exports
 * for other dashboards are made of.
 *
 * Columns that others add, such as an explanation, pass through every stage.
 */
import {
	type Data,
	DataType,
	Field,
	Float32,
	Float64,
	List,
	makeData,
	type RecordBatch,
	Schema,
	Struct,
	type TypeMap,
	Uint32,
	Utf8,
	type Vector,
} from "apache-arrow";
import { SaeError } from "../errors.ts";
import { META, STREAM_VERSION } from "../stream.ts";
import { makeBatch } from "./batch.ts";

/** A row on which a latent is active, with the rows around it. */
export interface FeatureExample {
	/** Activation at the row itself. */
	readonly value: number;
	/** Share of the latent's activations that are not larger, 0 to 1: 1 for the largest. */
	readonly quantile: number;
	/** Number of the row in the stream that the statistics are over. */
	readonly row: number;
	readonly document: number | null;
	readonly position: number | null;
	/** Which of the context's rows it is. */
	readonly at: number;
	/** The latent's activation at each row of the context, 0 where it is silent. */
	readonly values: Float32Array;
	/** Token of each row of the context; empty where the stream has no tokens. */
	readonly tokens: Uint32Array;
	/** What each row of the context reads as; empty where nothing says so. */
	readonly texts: readonly string[];
}

/** Counts of activations in bins of equal width; bin i is of values from `start + i · width`. */
export interface FeatureHistogram {
	readonly start: number;
	readonly width: number;
	readonly counts: Uint32Array;
}

export interface TokenLogit {
	readonly token: number;
	/** Empty without a tokenizer. */
	readonly text: string;
	readonly logit: number;
}

/** A latent whose decoder row points the same way. */
export interface NearLatent {
	readonly latent: number;
	readonly cosine: number;
}

/** A latent that is active on the same rows. */
export interface CooccurringLatent {
	readonly latent: number;
	/** Rows with both over rows with either. */
	readonly jaccard: number;
	/** Correlation of being active. */
	readonly phi: number;
}

/** One row of the stream. Numbers of a latent that was never active are 0. */
export interface Feature {
	readonly latent: number;
	/** Rows on which it is active, and their share of all. */
	readonly count: number;
	readonly density: number;
	/** Of its activations. */
	readonly mean: number;
	readonly min: number;
	readonly max: number;
	readonly histogram: FeatureHistogram;
	/** Norm of its decoder row. */
	readonly decoder_norm: number;
	/** Cosine between its encoder column and its decoder row; null where their widths differ. */
	readonly encoder_decoder_cosine: number | null;
	/** Rows of the largest activations, largest first. */
	readonly top: readonly FeatureExample[];
	/** Rows drawn at random among all on which it is active, largest first. */
	readonly samples: readonly FeatureExample[];
	/** Tokens whose logits its decoder row raises most, most first; empty without a model. */
	readonly top_logits: readonly TokenLogit[];
	/** Those that it lowers most, most first. */
	readonly bottom_logits: readonly TokenLogit[];
	readonly nearest: readonly NearLatent[];
	readonly cooccurring: readonly CooccurringLatent[];
}

const numbers = { uint32: () => new Uint32(), float32: () => new Float32(), float64: () => new Float64() };

function struct(fields: Readonly<Record<string, DataType | Field>>): Struct<TypeMap> {
	const named = ([name, type]: [string, DataType | Field]) =>
		type instanceof Field ? type : new Field(name, type, false);
	return new Struct(Object.entries(fields).map(named));
}

function list(item: DataType): List {
	return new List(new Field("item", item, false));
}

function optional(name: string, type: DataType): Field {
	return new Field(name, type, true);
}

const EXAMPLE = struct({
	value: numbers.float32(),
	quantile: numbers.float32(),
	row: numbers.float64(),
	document: optional("document", numbers.uint32()),
	position: optional("position", numbers.uint32()),
	at: numbers.uint32(),
	values: list(numbers.float32()),
	tokens: list(numbers.uint32()),
	texts: list(new Utf8()),
});
const LOGIT = struct({ token: numbers.uint32(), text: new Utf8(), logit: numbers.float32() });
const NEAR = struct({ latent: numbers.uint32(), cosine: numbers.float32() });
const COOCCURRING = struct({
	latent: numbers.uint32(),
	jaccard: numbers.float32(),
	phi: numbers.float32(),
});

/** Columns in order. Whole numbers that may pass 2³² are float64, exact to 2⁵³. */
const COLUMNS: readonly Field[] = [
	...struct({
		latent: numbers.uint32(),
		count: numbers.float64(),
		density: numbers.float64(),
		mean: numbers.float32(),
		min: numbers.float32(),
		max: numbers.float32(),
		decoder_norm: numbers.float32(),
		encoder_decoder_cosine: optional("encoder_decoder_cosine", numbers.float32()),
		histogram_start: numbers.float32(),
		histogram_width: numbers.float32(),
		histogram_counts: list(numbers.uint32()),
		top: list(EXAMPLE),
		samples: list(EXAMPLE),
		top_logits: list(LOGIT),
		bottom_logits: list(LOGIT),
		nearest: list(NEAR),
		cooccurring: list(COOCCURRING),
	}).children,
];

/** The schema of a features stream. */
export function featuresSchema(metadata: Iterable<readonly [string, string]> = []): Schema {
	const own: [string, string][] = [
		[META.kind, "features"],
		[META.version, STREAM_VERSION],
	];
	return new Schema([...COLUMNS], new Map([...metadata, ...own]));
}

/** A batch of latents. */
export function featuresBatch(schema: Schema, features: readonly Feature[]): RecordBatch {
	const rows = features.map(({ histogram, ...feature }) => ({
		...feature,
		histogram_start: histogram.start,
		histogram_width: histogram.width,
		histogram_counts: histogram.counts,
	}));
	return makeBatch(schema, rows.length, structChildren(COLUMNS, rows));
}

type Row = Readonly<Record<string, unknown>>;
type Typed = Float32Array | Float64Array | Uint32Array;

/** Arrow's own builders take values one by one, which is far too slow for contexts of tokens. */
function structChildren(fields: readonly Field[], rows: readonly Row[]): Data[] {
	return fields.map(({ name, type }) =>
		column(
			type,
			rows.map((row) => row[name]),
		),
	);
}

function column(type: DataType, values: readonly unknown[]): Data {
	const length = values.length;
	if (DataType.isList(type)) {
		const lists = values as readonly ArrayLike<unknown>[];
		const valueOffsets = offsetsOf(lists);
		return makeData({
			type,
			length,
			nullCount: 0,
			valueOffsets,
			child: items(type.children[0]!.type, lists),
		});
	}
	if (DataType.isStruct(type)) {
		return makeData({ type, length, nullCount: 0, children: structChildren(type.children, values as Row[]) });
	}
	if (DataType.isUtf8(type)) {
		const bytes = (values as readonly string[]).map((text) => encoder.encode(text));
		const data = new Uint8Array(bytes.reduce((sum, one) => sum + one.length, 0));
		const valueOffsets = offsetsOf(bytes);
		for (const [i, one] of bytes.entries()) data.set(one, valueOffsets[i]);
		return makeData({ type, length, nullCount: 0, valueOffsets, data });
	}
	const nulls = values.filter((value) => value === null).length;
	const data = typed(type, values.length);
	for (const [i, value] of values.entries()) data[i] = Number(value ?? 0);
	return numberData(type, data, nulls, nulls > 0 ? bitmap(values) : undefined);
}

function typed(type: DataType, length: number): Typed {
	return new (type.ArrayType as new (length: number) => Typed)(length);
}

function numberData(type: DataType, data: Typed, nullCount = 0, nullBitmap?: Uint8Array): Data {
	const numeric = type as Uint32;
	return makeData({
		type: numeric,
		length: data.length,
		nullCount,
		data: data as Uint32Array,
		...(nullBitmap && { nullBitmap }),
	});
}

const encoder = new TextEncoder();

function offsetsOf(lists: readonly ArrayLike<unknown>[]): Int32Array {
	const offsets = new Int32Array(lists.length + 1);
	for (const [i, { length }] of lists.entries()) offsets[i + 1] = offsets[i]! + length;
	return offsets;
}

function items(type: DataType, lists: readonly ArrayLike<unknown>[]): Data {
	if (DataType.isList(type) || DataType.isStruct(type) || DataType.isUtf8(type)) {
		return column(
			type,
			lists.flatMap((list) => Array.from(list)),
		);
	}
	const data = typed(
		type,
		lists.reduce((sum, list) => sum + list.length, 0),
	);
	let at = 0;
	for (const list of lists as readonly ArrayLike<number>[]) {
		data.set(list, at);
		at += list.length;
	}
	return numberData(type, data);
}

function bitmap(values: readonly unknown[]): Uint8Array {
	const bits = new Uint8Array(Math.ceil(values.length / 8));
	for (const [i, value] of values.entries()) if (value !== null) bits[i >> 3]! |= 1 << (i & 7);
	return bits;
}

/**
 * The latents of a batch. Types may be others of the same meaning, as they are once another program wrote the stream.
 *
 * @param rows which ones; all of them by default.
 * @throws SaeError for a batch of another kind of stream.
 */
export function featuresOf(
	batch: RecordBatch,
	rows: readonly number[] = Array.from({ length: batch.numRows }, (_, row) => row),
): Feature[] {
	const missing = COLUMNS.find(({ name }) => batch.getChild(name) === null);
	if (missing) {
		throw new SaeError(`not a features stream: no column ${missing.name}; \`sae features\` makes one`);
	}
	const columns = Object.fromEntries(COLUMNS.map(({ name }) => [name, batch.getChild(name)!]));
	return rows.map((row) => {
		const number = (name: string) => Number(columns[name]!.get(row));
		const rowsOf = (name: string) => columns[name]!.get(row) as Vector;
		const cosine = columns.encoder_decoder_cosine!.get(row);
		return {
			latent: number("latent"),
			count: number("count"),
			density: number("density"),
			mean: number("mean"),
			min: number("min"),
			max: number("max"),
			decoder_norm: number("decoder_norm"),
			encoder_decoder_cosine: cosine === null ? null : Number(cosine),
			histogram: {
				start: number("histogram_start"),
				width: number("histogram_width"),
				counts: Uint32Array.from(rowsOf("histogram_counts"), Number),
			},
			top: records(rowsOf("top")).map(exampleOf),
			samples: records(rowsOf("samples")).map(exampleOf),
			top_logits: records(rowsOf("top_logits")).map(plain<TokenLogit>),
			bottom_logits: records(rowsOf("bottom_logits")).map(plain<TokenLogit>),
			nearest: records(rowsOf("nearest")).map(plain<NearLatent>),
			cooccurring: records(rowsOf("cooccurring")).map(plain<CooccurringLatent>),
		};
	});
}

/** The rows of a list of structs, as objects of their members. */
function records(rows: Vector): Row[] {
	const fields = (rows.type as Struct).children;
	const members = fields.map(({ name }) => [name, rows.getChild(name as never)!] as const);
	return Array.from({ length: rows.length }, (_, i) =>
		Object.fromEntries(members.map(([name, member]) => [name, member.get(i)])),
	);
}

function plain<T>(row: Row): T {
	const numberOr = (value: unknown) => (typeof value === "bigint" ? Number(value) : value);
	return Object.fromEntries(Object.entries(row).map(([name, value]) => [name, numberOr(value)])) as T;
}

function exampleOf(row: Row): FeatureExample {
	const nullable = (value: unknown) => (value === null ? null : Number(value));
	return {
		value: Number(row.value),
		quantile: Number(row.quantile),
		row: Number(row.row),
		document: nullable(row.document),
		position: nullable(row.position),
		at: Number(row.at),
		values: Float32Array.from(row.values as Vector, Number),
		tokens: Uint32Array.from(row.tokens as Vector, Number),
		texts: Array.from(row.texts as Iterable<string>),
	};
}

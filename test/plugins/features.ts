/** Streams of several columns or layers that are made of the same sparse features, so that what is found can be judged. */
import { Field, type RecordBatch, Schema, Uint16, vectorFromArray } from "apache-arrow";
import { vectorData, vectorField } from "../../core/arrow/activations.ts";
import { makeBatch } from "../../core/arrow/batch.ts";
import { META, type RecordStream } from "../../core/stream.ts";
import { randomStream } from "../reference/models.ts";

export interface Source {
	readonly name: string;
	readonly width: number;
	/** What the features' unit vectors are multiplied by. */
	readonly scale: number;
	/** Which features it shows; all unless given. */
	shows?(feature: number): boolean;
}

export interface Shape {
	readonly features: number;
	/** Features that are active in a row, on average. */
	readonly active: number;
	readonly rows: number;
	readonly seed: number;
}

/** The unit vectors of every feature in a source [features, width]; zeros for those that it does not show. */
export function directions(
	{ name, width, shows = () => true }: Source,
	{ features, seed }: Shape,
): Float32Array {
	const random = randomStream(seed + 1000 * (name.charCodeAt(name.length - 1) + 1));
	const rows = new Float32Array(features * width);
	for (let feature = 0; feature < features; feature++) {
		const row = Array.from({ length: width }, () => random() + random() + random() - 1.5);
		const norm = Math.hypot(...row);
		if (shows(feature))
			rows.set(
				row.map((value) => value / norm),
				feature * width,
			);
	}
	return rows;
}

/** Activities in [0.5, 1.5) of the features that are on, by row. */
function activities({
	features,
	active,
	rows,
	seed,
}: Shape): (readonly [feature: number, value: number][])[] {
	const random = randomStream(seed);
	return Array.from({ length: rows }, () =>
		Array.from({ length: features }, (_, feature) => [feature, random()] as const).flatMap(
			([feature, u]): [number, number][] => (u < active / features ? [[feature, 0.5 + random()]] : []),
		),
	);
}

const BATCH = 512;

/** A column for every source; row r of each is made of the same features. */
export function columnStream(sources: readonly Source[], shape: Shape): RecordStream {
	const fields = sources.map(({ name, width }) => vectorField(name, width, "float32"));
	const schema = new Schema(fields, new Map([[META.kind, "activations"]]));
	const known = sources.map((source) => directions(source, shape));
	const active = activities(shape);
	async function* batches(): AsyncGenerator<RecordBatch> {
		for (let first = 0; first < shape.rows; first += BATCH) {
			const rows = Math.min(BATCH, shape.rows - first);
			const columns = sources.map(({ width, scale }, i) => {
				const data = sums(active.slice(first, first + rows), known[i]!, width, () => scale);
				return vectorData(fields[i]!, { data, rows, width, type: "float32" });
			});
			yield makeBatch(schema, rows, columns, new Map([[META.cursor, String(first)]]));
		}
	}
	return { schema, batches: batches() };
}

/** Rows of the layers 1, 3, 1, 3, …, of one dictionary, that of `source`; those of layer 3 are `louder` times as large. */
export function layerStream(source: Source, shape: Shape, louder: number): RecordStream {
	const { name, width, scale } = source;
	const field = vectorField(name, width, "float32");
	const schema = new Schema(
		[field, new Field("layer", new Uint16(), false)],
		new Map([[META.kind, "activations"]]),
	);
	const known = directions(source, shape);
	const active = activities(shape);
	const layerOf = (row: number) => 1 + 2 * (row % 2);
	async function* batches(): AsyncGenerator<RecordBatch> {
		for (let first = 0; first < shape.rows; first += BATCH) {
			const rows = Math.min(BATCH, shape.rows - first);
			const data = sums(active.slice(first, first + rows), known, width, (row) =>
				layerOf(first + row) === 3 ? louder * scale : scale,
			);
			const layers = Array.from({ length: rows }, (_, row) => layerOf(first + row));
			const columns = [
				vectorData(field, { data, rows, width, type: "float32" }),
				vectorFromArray(layers, new Uint16()).data[0]!,
			];
			yield makeBatch(schema, rows, columns, new Map([[META.cursor, String(first)]]));
		}
	}
	return { schema, batches: batches() };
}

function sums(
	active: readonly (readonly [number, number][])[],
	known: Float32Array,
	width: number,
	scale: (row: number) => number,
): Float32Array {
	const data = new Float32Array(active.length * width);
	for (const [row, features] of active.entries()) {
		for (const [feature, value] of features) {
			for (let i = 0; i < width; i++) {
				data[row * width + i]! += scale(row) * value * known[feature * width + i]!;
			}
		}
	}
	return data;
}

/**
 * Of each row of `truth` [n, width], the latent whose part of its decoder row is most like it, and their cosine.
 * @param from where that part begins in a row of `decoder` [d_sae, d_out].
 */
export function bestLatents(
	truth: Float32Array,
	width: number,
	decoder: { readonly shape: readonly number[]; readonly data: Float32Array },
	from = 0,
): { readonly latent: number; readonly cosine: number }[] {
	const [d_sae, d_out] = decoder.shape as [number, number];
	const part = (latent: number) =>
		decoder.data.subarray(latent * d_out + from, latent * d_out + from + width);
	return Array.from({ length: truth.length / width }, (_, n) => {
		const row = truth.subarray(n * width, (n + 1) * width);
		let best = { latent: -1, cosine: -1 };
		for (let latent = 0; latent < d_sae; latent++) {
			const found = part(latent);
			const dot = row.reduce((sum, value, i) => sum + value * found[i]!, 0);
			const cosine = dot / (Math.hypot(...found) || 1);
			if (cosine > best.cosine) best = { latent, cosine };
		}
		return best;
	});
}

/** The length of columns `from` to `to` of each decoder row [d_sae]. */
export function partNorms(
	decoder: { readonly shape: readonly number[]; readonly data: Float32Array },
	from: number,
	to: number,
): number[] {
	const [d_sae, d_out] = decoder.shape as [number, number];
	return Array.from({ length: d_sae }, (_, latent) =>
		Math.hypot(...decoder.data.subarray(latent * d_out + from, latent * d_out + to)),
	);
}

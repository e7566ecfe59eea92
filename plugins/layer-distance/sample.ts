/** The same tokens at every layer, out of a stream with rows of several layers. */
import type { RecordBatch } from "apache-arrow";
import type { Core, RecordStream } from "saeflow";

export interface LayerSample {
	/** By layer, ascending: rows [tokens, width], the same tokens in each. */
	readonly rows: ReadonlyMap<number, Float32Array>;
	readonly tokens: number;
	readonly width: number;
}

/**
 * The first tokens that every layer has a row of, at most `most`. Rows belong together by document and position, where
 * the stream has both; else the nth row of a layer belongs to the nth of the others.
 *
 * @throws SaeError where there are not two layers with two tokens in common, or rows that can't be used.
 */
export async function sampleLayers(
	core: Core,
	stream: RecordStream,
	column: string | undefined,
	most: number,
	signal: AbortSignal,
): Promise<LayerSample> {
	const { SaeError, LAYER_COLUMN } = core;
	const { name } = core.findVectorField(stream.schema, column);
	if (!core.isNumberColumn(stream.schema, LAYER_COLUMN)) {
		throw new SaeError(`the stream has no column ${LAYER_COLUMN} that says which layer a row is of`);
	}
	const places = ["document", "position"];
	const placed = places.every((place) => core.isNumberColumn(stream.schema, place));
	const tokens = new Map<string, number>();
	const seen = new Map<number, number>();
	const found = new Map<number, Map<number, Float32Array>>();
	let first = 0;
	let width = 0;
	/** Which token each row is, by its number in the sample; undefined beyond that. */
	const tokensOf = (batch: RecordBatch, layers: Uint32Array) => {
		const [documents, positions] = placed ? places.map((place) => core.numberColumn(batch, place)) : [];
		return Array.from(layers, (layer, row) => {
			const nth = seen.get(layer) ?? 0;
			seen.set(layer, nth + 1);
			const key = placed ? `${documents![row]}:${positions![row]}` : String(nth);
			if (!tokens.has(key) && tokens.size < most) tokens.set(key, tokens.size);
			return tokens.get(key);
		});
	};
	for await (const batch of stream.batches) {
		signal.throwIfAborted();
		if (batch.numRows === 0) continue;
		const vectors = core.vectorColumn(batch, name);
		width ||= vectors.width;
		if (vectors.width !== width) {
			throw new SaeError(`column ${name}: changes from ${width} to ${vectors.width} values at row ${first}`);
		}
		const bad = core.firstNonFinite(vectors.data);
		if (bad >= 0) {
			throw new SaeError(
				`column ${name}: row ${first + Math.floor(bad / width)} holds NaN or infinity; drop such rows`,
			);
		}
		const data = core.widened(vectors.data);
		const layers = core.numberColumn(batch, LAYER_COLUMN);
		for (const [row, token] of tokensOf(batch, layers).entries()) {
			if (token === undefined) continue;
			const layer = layers[row]!;
			if (!found.has(layer)) found.set(layer, new Map());
			found.get(layer)!.set(token, data.slice(row * width, (row + 1) * width));
		}
		first += batch.numRows;
	}
	const layers = [...found].sort(([a], [b]) => a - b);
	const common = [...tokens.values()].filter((token) => layers.every(([, rows]) => rows.has(token)));
	if (layers.length < 2 || common.length < 2) {
		const has = `layers ${layers.map(([layer]) => layer).join(", ") || "none"}, with ${common.length} tokens in common`;
		throw new SaeError(`distances need two layers and two tokens that both have; the stream has ${has}`);
	}
	const rows = new Map(
		layers.map(([layer, own]) => {
			const joined = new Float32Array(common.length * width);
			for (const [i, token] of common.entries()) joined.set(own.get(token)!, i * width);
			return [layer, joined] as const;
		}),
	);
	return { rows, tokens: common.length, width };
}

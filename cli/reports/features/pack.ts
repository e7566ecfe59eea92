/** From a features stream to what a page holds, a chunk at a time: memory holds the index and one chunk. */
import { DataType, type RecordBatch, type Schema } from "apache-arrow";
import {
	type Feature,
	type FeatureExample,
	featuresOf,
	featuresSchema,
} from "../../../core/arrow/features.ts";
import type { Chunk, Column, Labels, PackedExample, PackedLatent, PackedLogit } from "./format.ts";
import { NO_TEXT, NUMBERS } from "./format.ts";

export interface PackOptions {
	/** Examples of each latent at most, of the largest activations and of the others. */
	readonly top: number;
	readonly samples: number;
	/** Tokens of an example to each side of its own at most. */
	readonly context: number;
}

/** Latents of a chunk, and tokens in its examples, at most. */
const CHUNK = { latents: 256, tokens: 150_000 };

/** Tokens that stand for a latent in lists, and characters of each at most: rows may be whole texts. */
const LABEL = { tokens: 6, length: 80 };

/** Digits of activations: more than anybody sees, and few bytes. */
const DIGITS = 4;

/** What lists, searches and the overview are made of. */
export interface Index {
	readonly columns: readonly (Column & { readonly values: Float32Array | Float64Array })[];
	readonly labels: Labels;
	readonly chunks: readonly number[];
}

/** Takes batches, and hands out chunks as they are full. */
export class Packer {
	readonly #options: PackOptions;
	readonly #emit: (chunk: Chunk, number: number) => Promise<void>;
	readonly #extra: { readonly numbers: readonly string[]; readonly texts: readonly string[] };
	readonly #numbers: Record<string, number[]>;
	readonly #texts: Record<string, (string | null)[]>;
	readonly #tokens: string[][] = [];
	readonly #chunks: number[] = [];
	#open = new OpenChunk();

	constructor(schema: Schema, options: PackOptions, emit: (chunk: Chunk, number: number) => Promise<void>) {
		this.#options = options;
		this.#emit = emit;
		this.#extra = extraColumns(schema);
		this.#numbers = Object.fromEntries([...NUMBERS, ...this.#extra.numbers].map((name) => [name, []]));
		this.#texts = Object.fromEntries(this.#extra.texts.map((name) => [name, []]));
	}

	get rows(): number {
		return this.#tokens.length;
	}

	async add(batch: RecordBatch): Promise<void> {
		// Features as objects are large; a few at a time are enough.
		for (let from = 0; from < batch.numRows; from += CHUNK.latents) {
			const part = batch.slice(from, Math.min(batch.numRows, from + CHUNK.latents));
			for (const feature of featuresOf(part)) {
				if (this.#open.latents.length === 0) this.#chunks.push(this.rows);
				this.#index(feature);
				this.#open.add(feature, this.#options);
				if (this.#open.full) await this.#flush();
			}
			for (const name of this.#extra.numbers) {
				const values = part.getChild(name)!;
				for (const value of values) this.#numbers[name]!.push(value === null ? Number.NaN : Number(value));
			}
			for (const name of this.#extra.texts) {
				for (const value of part.getChild(name)!)
					this.#texts[name]!.push(value === null ? null : String(value));
			}
		}
	}

	/** What is left goes out, and the index is whole. */
	async end(): Promise<Index> {
		if (this.#open.latents.length > 0) await this.#flush();
		const columns = Object.entries(this.#numbers).map(([name, values]) => {
			const exact = name === "latent" || name === "count";
			return exact
				? { name, type: "f64" as const, values: Float64Array.from(values) }
				: { name, type: "f32" as const, values: Float32Array.from(values) };
		});
		return { columns, labels: { tokens: this.#tokens, texts: this.#texts }, chunks: this.#chunks };
	}

	#index(feature: Feature): void {
		for (const name of NUMBERS) this.#numbers[name]!.push(feature[name] ?? Number.NaN);
		// Weak activations say less of what it is about.
		const examples = feature.top.length > 0 ? feature.top : feature.samples;
		// Beside each other, a token with a space before it looks like the one without.
		const tokens = new Map<string, string>();
		for (const example of examples) {
			const text = shortened(textsOf(example)[example.at] ?? "");
			const key = text.trim() || text;
			if (key !== "" && text !== NO_TEXT && !tokens.has(key)) tokens.set(key, text);
		}
		this.#tokens.push([...tokens.values()].slice(0, LABEL.tokens));
	}

	async #flush(): Promise<void> {
		const { strings, latents } = this.#open;
		this.#open = new OpenChunk();
		await this.#emit({ strings: [...strings.keys()], latents }, this.#chunks.length - 1);
	}
}

/** Columns of a single value that the schema of features lacks, by what they hold. */
function extraColumns({ fields }: Schema) {
	const own = new Set(featuresSchema().fields.map(({ name }) => name));
	const others = fields.filter(({ name }) => !own.has(name));
	const named = (is: (type: DataType) => boolean) =>
		others.filter(({ type }) => is(type)).map(({ name }) => name);
	return {
		numbers: named((type) => DataType.isInt(type) || DataType.isFloat(type)),
		texts: named(
			(type) =>
				DataType.isUtf8(type) ||
				DataType.isLargeUtf8(type) ||
				DataType.isUtf8View(type) ||
				DataType.isDictionary(type),
		),
	};
}

class OpenChunk {
	readonly strings = new Map<string, number>();
	readonly latents: PackedLatent[] = [];
	#tokens = 0;

	get full(): boolean {
		return this.latents.length >= CHUNK.latents || this.#tokens >= CHUNK.tokens;
	}

	add(feature: Feature, { top, samples, context }: PackOptions): void {
		const examples = (list: readonly FeatureExample[], most: number) =>
			thinned(list, most).map((example) => this.#example(example, context));
		this.latents.push({
			histogram: { ...feature.histogram, counts: [...feature.histogram.counts] },
			top: feature.top.slice(0, top).map((example) => this.#example(example, context)),
			samples: examples(feature.samples, samples),
			raised: feature.top_logits.map((logit) => this.#logit(logit)),
			lowered: feature.bottom_logits.map((logit) => this.#logit(logit)),
			nearest: feature.nearest.map(({ latent, cosine }) => [latent, short(cosine)]),
			cooccurring: feature.cooccurring.map(({ latent, jaccard, phi }) => [
				latent,
				short(jaccard),
				short(phi),
			]),
		});
	}

	#example(example: FeatureExample, context: number): PackedExample {
		const { value, quantile, row, document, position, at, values } = example;
		const texts = textsOf(example);
		const from = Math.max(0, at - context);
		const end = Math.min(texts.length, at + context + 1);
		const active: number[] = [];
		for (let i = from; i < end; i++) if (values[i]) active.push(i - from, short(values[i]!));
		this.#tokens += end - from;
		return {
			value: short(value),
			quantile: short(quantile),
			place: placeOf({ row, document, position }),
			at: at - from,
			tokens: texts.slice(from, end).map((text) => this.#string(text)),
			active,
		};
	}

	#logit({ token, text, logit }: Feature["top_logits"][number]): PackedLogit {
		return [this.#string(text === "" ? `#${token}` : text), short(logit)];
	}

	#string(text: string): number {
		const known = this.strings.get(text);
		if (known !== undefined) return known;
		this.strings.set(text, this.strings.size);
		return this.strings.size - 1;
	}
}

/** What an example's rows read as: token ids where nobody knows more, and dots where there are no tokens. */
function textsOf({ texts, tokens, values }: FeatureExample): readonly string[] {
	if (texts.length > 0) return texts;
	return tokens.length > 0 ? Array.from(tokens, (id) => `#${id} `) : Array.from(values, () => NO_TEXT);
}

function placeOf({ row, document, position }: Pick<FeatureExample, "row" | "document" | "position">): string {
	return [
		`row ${row}`,
		...(document === null ? [] : [`document ${document}`]),
		...(position === null ? [] : [`position ${position}`]),
	].join(", ");
}

function shortened(text: string): string {
	// Not between the halves of a character.
	return text.length <= LABEL.length ? text : `${text.slice(0, LABEL.length - 1).toWellFormed()}…`;
}

/** At most `most` of a list, evenly spread over it, the first and the last among them. */
export function thinned<T>(list: readonly T[], most: number): readonly T[] {
	if (list.length <= most) return list;
	if (most <= 1) return list.slice(0, most);
	return Array.from({ length: most }, (_, i) => list[Math.round((i * (list.length - 1)) / (most - 1))]!);
}

function short(value: number): number {
	return Number(value.toPrecision(DIGITS));
}

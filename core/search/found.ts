/** What a search gives: its rows, with their places, scores and latents. */
import { Field, Float32, makeData, Schema, Uint32 } from "apache-arrow";
import { makeBatch } from "../arrow/batch.ts";
import { latentsBatch, latentsSchema } from "../arrow/codes.ts";
import { SaeError } from "../errors.ts";
import type { Codes } from "../sae.ts";
import { commandsAfter, each, META, type RecordStream, STREAM_VERSION } from "../stream.ts";
import type { Ranking } from "./ranking.ts";

const OWN = ["rank", "score", "row", "latents"];
/** What is known of the stream and stays true of some of its rows. */
const KEPT = [META.model, META.hookPoint, META.tokenizer];

interface Described {
	/** Latents whose activations are given. */
	readonly listed: ReadonlySet<number>;
	/** Columns that are left out. */
	readonly dropped: readonly string[];
	readonly command?: string | undefined;
}

/** @param codes of each ranked row. */
export function foundRows(
	{ metadata }: Schema,
	{ ranked, columns }: Ranking<unknown>,
	codes: readonly Codes[],
	{ listed, dropped, command }: Described,
): RecordStream {
	const fields = columns?.schema.fields ?? [];
	const places = [...fields.keys()].filter((i) => !dropped.includes(fields[i]!.name));
	const others = places.map((i) => fields[i]!);
	const taken = others.find(({ name }) => OWN.includes(name));
	if (taken) {
		throw new SaeError(`the stream has a column ${taken.name}, which the result has too; rename it first`);
	}
	const latents = latentsBatch(latentsSchema(), listedCodes(codes, listed));
	const own = [
		column(
			"rank",
			Uint32Array.from(ranked, (_, place) => place + 1),
		),
		column(
			"score",
			Float32Array.from(ranked, ({ score }) => score),
		),
		column(
			"row",
			Uint32Array.from(ranked, ({ row }) => row),
		),
	];
	const schema = new Schema(
		[...own.map(({ field }) => field), latents.schema.fields[0]!, ...others],
		provenance(metadata, command),
	);
	const batch = makeBatch(schema, ranked.length, [
		...own.map(({ data }) => data),
		latents.data.children[0]!,
		...places.map((i) => columns!.data.children[i]!),
	]);
	return { schema, batches: each([batch]) };
}

function column(name: string, data: Uint32Array | Float32Array) {
	const type = data instanceof Uint32Array ? new Uint32() : new Float32();
	return {
		field: new Field(name, type, false),
		data: makeData({ type, length: data.length, nullCount: 0, data } as never),
	};
}

function provenance(metadata: ReadonlyMap<string, string>, command: string | undefined): Map<string, string> {
	const commands = commandsAfter(metadata, command);
	const kept = KEPT.flatMap((key) => {
		const value = metadata.get(key);
		return value === undefined ? [] : [[key, value] as const];
	});
	return new Map([
		...kept,
		[META.kind, "metrics"],
		[META.version, STREAM_VERSION],
		...(commands === undefined ? [] : [[META.command, commands] as const]),
	]);
}

/** The entries of listed latents, of rows one after the other. */
function listedCodes(rows: readonly Codes[], listed: ReadonlySet<number>): Codes {
	const entries = rows.map(({ index, value }) =>
		Array.from(index, (latent, entry) => [latent, value[entry]!] as const).filter(([latent]) =>
			listed.has(latent),
		),
	);
	const offsets = new Uint32Array(rows.length + 1);
	for (const [row, own] of entries.entries()) offsets[row + 1] = offsets[row]! + own.length;
	const all = entries.flat();
	return {
		rows: rows.length,
		offsets,
		index: Uint32Array.from(all, ([latent]) => latent),
		value: Float32Array.from(all, ([, value]) => value),
	};
}

/** A features stream with what an interpreter says of its latents. */
import { Field, Float64, type RecordBatch, Schema, Utf8, vectorFromArray } from "apache-arrow";
import { makeBatch } from "../arrow/batch.ts";
import { featuresOf } from "../arrow/features.ts";
import { META, type RecordStream } from "../stream.ts";
import type { Interpretation, Interpreter, LatentToExplain } from "./interpreter.ts";

export const EXPLANATION = "explanation";
export const SOURCE = "explanation_source";

/** The latents of a batch that are wanted, each with its row. */
export function latentsToExplain(
	batch: RecordBatch,
	wanted: (latent: number) => boolean,
): (LatentToExplain & { readonly row: number })[] {
	const latents = batch.getChild("latent");
	const rows = Array.from({ length: batch.numRows }, (_, row) => row).filter(
		// Without that column the stream is of another kind, which is said below.
		(row) => !latents || wanted(Number(latents.get(row))),
	);
	const [explanations, sources] = [batch.getChild(EXPLANATION), batch.getChild(SOURCE)];
	return featuresOf(batch, rows).map((feature, i) => {
		const row = rows[i]!;
		return {
			row,
			feature,
			explanation: explanations?.get(row) ?? null,
			source: sources?.get(row) ?? null,
		};
	});
}

/**
 * Rows of features with an explanation, who made it, and scores. Other columns pass through, and so does what was said
 * before of latents that are not wanted.
 */
export function interpretedStream(
	{ schema, batches }: RecordStream,
	interpreter: Interpreter,
	wanted: (latent: number) => boolean,
	{ command, done }: { readonly command: string; readonly done: (latents: number) => void },
): RecordStream {
	const added = [
		new Field(EXPLANATION, new Utf8(), true),
		new Field(SOURCE, new Utf8(), true),
		...interpreter.columns.map((name) => new Field(name, new Float64(), true)),
	];
	const names = new Set(added.map(({ name }) => name));
	const kept = schema.fields.flatMap(({ name }, i) => (names.has(name) ? [] : [i]));
	const before = schema.metadata.get(META.command);
	const wider = new Schema(
		[...kept.map((i) => schema.fields[i]!), ...added],
		new Map(schema.metadata).set(META.command, before === undefined ? command : `${before} | ${command}`),
	);
	const interpretAll = (batch: RecordBatch) =>
		Promise.all(
			latentsToExplain(batch, wanted).map(async ({ row, ...latent }) => {
				const interpretation = await interpreter.interpret(latent);
				done(1);
				return [row, interpretation] as const;
			}),
		);
	return {
		schema: wider,
		batches: (async function* () {
			for await (const batch of batches) {
				const found = new Map(await interpretAll(batch));
				const columns = added.map(({ name, type }) => {
					const old = batch.getChild(name);
					const cells = Array.from({ length: batch.numRows }, (_, row) => {
						const interpretation = found.get(row);
						return (interpretation ? cell(interpretation, name) : old?.get(row)) ?? null;
					});
					return vectorFromArray(cells, type).data[0]!;
				});
				const others = kept.map((i) => batch.data.children[i]!);
				yield makeBatch(wider, batch.numRows, [...others, ...columns], batch.metadata);
			}
		})(),
	};
}

function cell({ explanation, source, scores }: Interpretation, name: string): string | number | null {
	if (name === EXPLANATION) return explanation;
	if (name === SOURCE) return source;
	return scores[name] ?? null;
}

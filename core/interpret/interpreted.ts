/** A features stream with what an interpreter says of its latents. */
import { Field, Float64, type RecordBatch, Schema, Utf8, vectorFromArray } from "apache-arrow";
import { makeBatch } from "../arrow/batch.ts";
import { featuresOf } from "../arrow/features.ts";
import { commandsAfter, META, type RecordStream } from "../stream.ts";
import type { Interpretation, Interpreter, LatentToExplain } from "./interpreter.ts";

export const EXPLANATION = "explanation";
export const SOURCE = "explanation_source";

/** Latents that are asked for at a time, at least where so many follow each other within so many batches. */
const LATENTS_AHEAD = 128;
const BATCHES_AHEAD = 64;

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
	{ command, done }: { readonly command: string; readonly done: () => void },
): RecordStream {
	const added = [
		new Field(EXPLANATION, new Utf8(), true),
		new Field(SOURCE, new Utf8(), true),
		...interpreter.columns.map((name) => new Field(name, new Float64(), true)),
	];
	const names = new Set(added.map(({ name }) => name));
	const kept = schema.fields.flatMap(({ name }, i) => (names.has(name) ? [] : [i]));
	const wider = new Schema(
		[...kept.map((i) => schema.fields[i]!), ...added],
		new Map(schema.metadata).set(META.command, commandsAfter(schema.metadata, command)!),
	);
	const interpretAll = async (latents: ReturnType<typeof latentsToExplain>) => {
		const said = latents.map(async ({ row, ...latent }) => {
			const interpretation = await interpreter.interpret(latent);
			done();
			return [row, interpretation] as const;
		});
		return new Map(await Promise.all(said));
	};
	const finish = async ({ batch, found }: Asked): Promise<RecordBatch> => {
		const said = await found;
		const columns = added.map(({ name, type }) => {
			const old = batch.getChild(name);
			const cells = Array.from({ length: batch.numRows }, (_, row) => {
				const interpretation = said.get(row);
				return (interpretation ? cell(interpretation, name) : old?.get(row)) ?? null;
			});
			return vectorFromArray(cells, type).data[0]!;
		});
		const others = kept.map((i) => batch.data.children[i]!);
		return makeBatch(wider, batch.numRows, [...others, ...columns], batch.metadata);
	};
	return {
		schema: wider,
		batches: (async function* () {
			const asked: Asked[] = [];
			let latents = 0;
			for await (const batch of batches) {
				const wantedOnes = latentsToExplain(batch, wanted);
				const found = interpretAll(wantedOnes);
				// A failure is told when its turn comes.
				found.catch(() => {});
				asked.push({ batch, latents: wantedOnes.length, found });
				latents += wantedOnes.length;
				while (latents > LATENTS_AHEAD || asked.length > BATCHES_AHEAD) {
					const next = asked.shift()!;
					latents -= next.latents;
					yield await finish(next);
				}
			}
			for (const rest of asked) yield await finish(rest);
		})(),
	};
}

/** A batch whose latents are being interpreted. */
interface Asked {
	readonly batch: RecordBatch;
	readonly latents: number;
	readonly found: Promise<ReadonlyMap<number, Interpretation>>;
}

function cell({ explanation, source, scores }: Interpretation, name: string): string | number | null {
	if (name === EXPLANATION) return explanation;
	if (name === SOURCE) return source;
	return scores[name] ?? null;
}

/** Writes a features stream as a folder of batches; one batch is in memory at a time. */
import { mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { RecordBatch } from "apache-arrow";
import type { Core, RecordStream, SaeModel } from "saeflow";
import { decoderRow, type Exported } from "./statistics.ts";

const compress = promisify(gzip);
const GZIP_LEVEL = 5;

/** Latents of one batch. */
const BATCH = 128;

export interface BatchFile {
	/** Path in the folder. */
	readonly name: string;
	readonly text: string;
	readonly compressed?: boolean;
}

/** The files of a form. `longest`: rows of the longest context so far. */
export interface Files {
	batch(core: Core, latents: readonly Exported[], batch: number, longest: number): BatchFile[];
	last(longest: number): BatchFile[];
}

export interface Job {
	/** Folder that is made. */
	readonly path: string;
	readonly stream: RecordStream;
	readonly model: SaeModel;
	readonly files: Files;
	readonly withVectors: boolean;
}

/** Makes the folder, which appears when it is complete. @throws SaeError when it is there already. */
export async function exportFeatures(
	core: Core,
	{ path, stream, model, files, withVectors }: Job,
): Promise<void> {
	const { SaeError, isSaeError } = core;
	if (await stat(path).catch(() => undefined)) {
		throw new SaeError(`${path}: is there already; remove it, or name another --source-set or --out`);
	}
	const beside = `${path}.${process.pid}.tmp`;
	try {
		await mkdir(beside, { recursive: true });
		let longest = 0;
		let batch = 0;
		for await (const latents of batches(core, stream, model, withVectors)) {
			for (const { feature } of latents) {
				for (const { values } of [...feature.top, ...feature.samples])
					longest = Math.max(longest, values.length);
			}
			await put(beside, files.batch(core, latents, batch++, longest));
		}
		await put(beside, files.last(longest));
		await rename(beside, path);
	} catch (error) {
		await rm(beside, { recursive: true, force: true }).catch(() => {});
		const code = (error as NodeJS.ErrnoException).code;
		if (isSaeError(error) || code === undefined) throw error;
		throw new SaeError(`${path}: can't be written (${code})`);
	}
}

async function put(folder: string, files: readonly BatchFile[]): Promise<void> {
	for (const { name, text, compressed } of files) {
		const path = join(folder, name);
		await mkdir(dirname(path), { recursive: true });
		await writeFile(path, compressed ? await compress(text, { level: GZIP_LEVEL }) : text);
	}
}

async function* batches(
	core: Core,
	stream: RecordStream,
	model: SaeModel,
	withVector: boolean,
): AsyncGenerator<Exported[]> {
	const own = new Set(core.featuresSchema().fields.map(({ name }) => name));
	const others = stream.schema.fields.map(({ name }) => name).filter((name) => !own.has(name));
	let waiting: Exported[] = [];
	for await (const batch of stream.batches) {
		for (const [row, feature] of core.featuresOf(batch).entries()) {
			if (feature.latent >= model.d_sae) {
				throw new core.SaeError(
					`--features: has latent ${feature.latent}, but the SAE has ${model.d_sae} latents; these are features of another one`,
				);
			}
			const { explanation, ...notes } = plainCells(batch, others, row);
			waiting.push({
				feature,
				explanation: typeof explanation === "string" && explanation !== "" ? explanation : null,
				notes,
				decoder: decoderRow(model, feature.latent),
				withVector,
			});
			if (waiting.length < BATCH) continue;
			yield waiting;
			waiting = [];
		}
	}
	if (waiting.length > 0) yield waiting;
}

/** Numbers and text in these columns of a row. */
function plainCells(batch: RecordBatch, names: readonly string[], row: number): Exported["notes"] {
	const cells = names.map((name) => [name, batch.getChild(name)!.get(row)] as const);
	return Object.fromEntries(
		cells.filter(([, value]) => typeof value === "number" || typeof value === "string"),
	);
}

/** Whether formats of SAEs on disk lose nothing, recognise their own, and refuse what is damaged. */
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isSaeError } from "../errors.ts";
import type { ImporterContribution, Plugin } from "../plugin.ts";
import type { SaeModel } from "../sae.ts";
import { type Bench, type BenchOptions, toySae, withBench } from "./bench.ts";
import { check, checkContribution, checkRefuses, type Subject } from "./check.ts";
import { checkModel, checkSameCodes } from "./model.ts";

export interface ExporterSubject extends Subject, BenchOptions {
	/** The SAE to write; a small topk one unless given. */
	readonly model?: SaeModel;
	/** The importer, of this plugin or built in, that reads what is written; the only one of the plugin unless given. */
	readonly importer?: string;
	/** How far reconstructions may be off after writing and reading, as a share of the largest value; 0 unless given. */
	readonly tolerance?: number;
}

/**
 * Checks an exporter: it writes a file or folder, leaves nothing beside it, gives the same bytes again, writes over
 * what it wrote, and refuses a path that can't be written. With an importer, that what it wrote is recognised and read
 * back to the same codes, and what {@link checkImporter} checks.
 *
 * @throws Error that says what does not hold.
 */
export async function checkExporter(plugin: Plugin, subject: ExporterSubject = {}): Promise<void> {
	const { contribution, options, title } = await checkContribution(plugin, "exporter", subject);
	const model = subject.model ?? toySae(12, 48, 5);
	await inFolder((folder) =>
		withBench(plugin, subject, async (bench) => {
			const path = join(folder, "written");
			await contribution.write(model, path, options);
			check(
				(await readdir(folder)).join() === "written",
				`${title}: writing ${path} left also: ${(await readdir(folder)).filter((name) => name !== "written").join(", ")}`,
			);
			const before = await contentOf(path);
			await contribution.write(model, path, options);
			check((await contentOf(path)).equals(before), `${title}: writing the same SAE again gives other bytes`);
			await writeFile(join(folder, "file"), "");
			await checkRefuses(
				() => contribution.write(model, join(folder, "file", "below"), options),
				`${title}: a path that lies in a file`,
			);
			check((await contentOf(path)).equals(before), `${title}: a write that failed changed another path`);

			const importer = await importerFor(plugin, subject.importer, bench);
			if (!importer) return;
			await checkReading(importer, path, folder);
			const reread = await importer.read(path);
			const complaint = `${title}: the SAE that ${importer.name} reads back`;
			checkModel(reread, complaint);
			check(
				reread.d_in === model.d_in && reread.d_sae === model.d_sae,
				`${complaint} has d_in ${reread.d_in} and d_sae ${reread.d_sae}, not ${model.d_in} and ${model.d_sae}`,
			);
			await checkSameCodes(bench, [model, reread], subject.tolerance ?? 0, complaint);
		}),
	);
}

export interface ImporterSubject extends Subject, BenchOptions {
	/** A file or folder in the importer's format, as others write it. */
	readonly path: string;
}

/**
 * Checks an importer with a sample of its format: it is recognised and read to a sound SAE that runs; an empty folder,
 * a text and a missing path are not recognised; a file that was cut off is refused, or reads to the same SAE where
 * nothing of it was needed.
 *
 * @throws Error that says what does not hold.
 */
export async function checkImporter(plugin: Plugin, subject: ImporterSubject): Promise<void> {
	const { contribution, title } = await checkContribution(plugin, "importer", subject);
	await inFolder((folder) =>
		withBench(plugin, subject, async (bench) => {
			await checkReading(contribution, subject.path, folder);
			const model = await contribution.read(subject.path);
			checkModel(model, `${title}: the SAE that it reads`);
			await checkSameCodes(bench, [model, await contribution.read(subject.path)], 0, `${title}: read twice`);
		}),
	);
}

async function importerFor(
	plugin: Plugin,
	name: string | undefined,
	{ registry }: Bench,
): Promise<ImporterContribution | undefined> {
	const { core } = await import("../api.ts");
	const own = plugin.contributes(core).filter(({ kind }) => kind === "importer");
	const wanted = name ?? (own.length === 1 ? own[0]!.name : undefined);
	if (wanted === undefined) return undefined;
	const found = await registry.find("importer", wanted);
	check(found, `there is no importer ${wanted}`);
	return found;
}

/** What must hold of reading a sample, whoever wrote it. `folder` is for damaged copies. */
async function checkReading(importer: ImporterContribution, path: string, folder: string): Promise<void> {
	const title = `importer ${importer.name}`;
	check((await importer.detect(path)) === true, `${title}: does not recognise ${path}`);
	const others = join(folder, "others");
	await mkdir(others);
	await writeFile(join(others, "text"), "This is not an SAE.\n");
	for (const other of [others, join(others, "text"), join(others, "missing")]) {
		const answer = await importer.detect(other).catch((error) => `an error: ${error}`);
		check(
			answer === false,
			`${title}: for what is no SAE, ${other}, detect must answer false, not ${answer}`,
		);
	}
	const whole = JSON.stringify((await importer.read(path)).tensors);
	for (const part of await filesIn(path)) {
		const copy = join(folder, "damaged");
		await cp(path, copy, { recursive: true });
		const file = part === "" ? copy : join(copy, part);
		await truncate(file, Math.floor((await stat(file)).size / 2));
		const complaint = `${title}: half of ${part || "the file"} is missing`;
		const read = await importer.read(copy).catch((error: unknown) => {
			check(isSaeError(error), `${complaint}: it must be refused with a SaeError, not with: ${error}`);
		});
		check(!read || JSON.stringify(read.tensors) === whole, `${complaint}: it reads as another SAE`);
		await rm(copy, { recursive: true });
	}
	await rm(others, { recursive: true });
}

/** Paths of the files in a folder; of a file, the empty one. */
async function filesIn(path: string): Promise<string[]> {
	if ((await stat(path)).isFile()) return [""];
	const entries = await readdir(path, { recursive: true, withFileTypes: true });
	return entries
		.filter((entry) => entry.isFile())
		.map((entry) => join(entry.parentPath, entry.name).slice(path.length + 1))
		.toSorted();
}

async function contentOf(path: string): Promise<Buffer> {
	const files = await filesIn(path);
	return Buffer.concat(
		await Promise.all(
			files.map(async (file) => Buffer.concat([Buffer.from(file), await readFile(join(path, file))])),
		),
	);
}

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
	const folder = await mkdtemp(join(tmpdir(), "sae-conformance-"));
	try {
		await work(folder);
	} finally {
		await rm(folder, { recursive: true, force: true });
	}
}

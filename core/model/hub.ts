/** Finds a model: a folder on disk, or a repository of the Hugging Face Hub, which is cached. */
import { copyFile, mkdir, readdir, readFile, stat, symlink } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { SaeError } from "../errors.ts";
import { writeAtomically } from "../files/atomic.ts";
import { cacheHome } from "../files/cache.ts";
import { sizeText } from "../shards/plan.ts";
import { readJson } from "./folder.ts";

const HUB_ID = /^\w[\w.-]*\/\w[\w.-]*$/;
const WEIGHTS = "model.safetensors";
const INDEX = `${WEIGHTS}.index.json`;

/**
 * The folder of a model. A name like `openai-community/gpt2` that is no folder is looked up in the cache that Python's
 * huggingface_hub uses too, and fetched where it is not there yet. HF_TOKEN and HF_ENDPOINT are respected.
 *
 * @throws SaeError when there is no such folder, or it can't be fetched.
 */
export async function findModel(
	name: string,
	log: { info(message: string): void; progress(message: string): void },
): Promise<string> {
	const found = await stat(name).catch(() => undefined);
	if (found?.isDirectory()) return name;
	if (found) throw new SaeError(`${name}: is a file; give the model's folder`);
	if (!HUB_ID.test(name)) throw new SaeError(`${name}: there is no such folder`);
	return (await cached(name)) ?? (await fetched(name, log));
}

/** The same, but only where it is on this machine. */
export async function findLocalModel(name: string): Promise<string | undefined> {
	const found = await stat(name).catch(() => undefined);
	if (found?.isDirectory()) return name;
	return !found && HUB_ID.test(name) ? cached(name) : undefined;
}

/** The newest complete copy in the cache. */
async function cached(name: string): Promise<string | undefined> {
	const folder = repositoryFolder(name);
	const commit = await readFile(join(folder, "refs", "main"), "utf8").catch(() => undefined);
	if (!commit) return undefined;
	const snapshot = join(folder, "snapshots", commit.trim());
	const files: string[] = await readdir(snapshot).catch(() => []);
	if (!files.includes("config.json")) return undefined;
	if (files.includes(WEIGHTS)) return snapshot;
	if (!files.includes(INDEX)) return undefined;
	const shards = await shardsOf(join(snapshot, INDEX));
	return shards.every((shard) => files.includes(shard)) ? snapshot : undefined;
}

function repositoryFolder(name: string): string {
	return join(cacheFolder(), `models--${name.replace("/", "--")}`);
}

function cacheFolder(): string {
	const { HF_HUB_CACHE, HF_HOME } = process.env;
	const home = HF_HOME || join(cacheHome(), "huggingface");
	return HF_HUB_CACHE || join(home, "hub");
}

/**
 * Fetches what running a model takes, as Python's huggingface_hub would store it: content in `blobs`, names that point
 * to it in `snapshots/COMMIT`, and, once all is there, the commit in `refs/main`.
 */
async function fetched(
	name: string,
	log: { info(message: string): void; progress(message: string): void },
): Promise<string> {
	const { modelInfo } = await import("@huggingface/hub");
	const access = hubAccess();
	const { sha, filePaths } = await modelInfo({
		...access,
		name,
		additionalFields: ["sha", "filePaths"],
	}).catch((error) => Promise.reject(unknownModel(name, error)));
	const folder = repositoryFolder(name);
	const snapshot = join(folder, "snapshots", sha);
	const fetchFile = async (path: string) => {
		if (!filePaths.includes(path)) return;
		await fetchInto(folder, { ...access, name, revision: sha, path }, log).catch((error) =>
			Promise.reject(failedFetch(name, path, error)),
		);
	};
	for (const path of ["config.json", "tokenizer.json", "tokenizer_config.json", INDEX]) await fetchFile(path);
	const weights = filePaths.includes(INDEX) ? await shardsOf(join(snapshot, INDEX)) : [WEIGHTS];
	const missing = ["config.json", ...weights].find((path) => !filePaths.includes(path));
	if (missing) throw new SaeError(`${name}: the model on the Hugging Face Hub has no ${missing}`);
	for (const path of weights) await fetchFile(path);
	await mkdir(join(folder, "refs"), { recursive: true });
	await writeAtomically(join(folder, "refs", "main"), (append) => append(new TextEncoder().encode(sha)));
	log.info(`${name} is in ${snapshot}`);
	return snapshot;
}

interface HubFile {
	readonly name: string;
	readonly revision: string;
	readonly path: string;
	readonly hubUrl?: string;
	readonly accessToken?: string;
}

function hubAccess(): Pick<HubFile, "hubUrl" | "accessToken"> {
	const { HF_TOKEN, HF_ENDPOINT } = process.env;
	return { ...(HF_TOKEN && { accessToken: HF_TOKEN }), ...(HF_ENDPOINT && { hubUrl: HF_ENDPOINT }) };
}

/** Puts a file into its snapshot. Processes that fetch the same one at a time write it beside each other. */
async function fetchInto(
	folder: string,
	{ name, path, revision, ...access }: HubFile,
	log: { progress(message: string): void },
): Promise<void> {
	const link = join(folder, "snapshots", revision, path);
	if (await stat(link).catch(() => undefined)) return;
	const { downloadFile, fileDownloadInfo } = await import("@huggingface/hub");
	const file = { ...access, repo: { type: "model", name } as const, revision, path };
	const downloadInfo = await fileDownloadInfo(file);
	// By plain HTTP, which every Hub speaks and the tests try; Xet is the Hub's own protocol.
	const content = downloadInfo && (await downloadFile({ ...file, downloadInfo, xet: false }));
	if (!content) throw new Error("it is not there");
	const etag = downloadInfo.etag.replaceAll(/^W\/|"/g, "");
	const blob = join(folder, "blobs", basename(etag));
	await mkdir(dirname(blob), { recursive: true });
	await mkdir(dirname(link), { recursive: true });
	const total = sizeText(downloadInfo.size);
	let got = 0;
	await writeAtomically(blob, async (append) => {
		for await (const bytes of content.stream()) {
			await append(bytes);
			got += bytes.length;
			log.progress(`fetching ${name}: ${path}, ${sizeText(got)} of ${total}`);
		}
		if (got !== downloadInfo.size) throw new Error(`only ${sizeText(got)} of ${total} came`);
	});
	await symlink(relative(dirname(link), blob), link).catch(async (error: NodeJS.ErrnoException) => {
		// Another process was first; or links can't be made there, as often on Windows.
		if (error.code !== "EEXIST") await copyFile(blob, link);
	});
}

/** Why nothing is known of a model of that name. */
function unknownModel(name: string, error: Error): SaeError {
	const none = `${name}: there is no such folder, and the Hugging Face Hub`;
	const { statusCode } = error as { statusCode?: number };
	if (statusCode === 401 || statusCode === 403 || statusCode === 404) {
		const token = process.env.HF_TOKEN ? "HF_TOKEN may not read it" : "it needs a token (HF_TOKEN)";
		return new SaeError(`${none} has no model of that name, or ${token}`);
	}
	if (statusCode !== undefined) return new SaeError(`${none} answers with an error (${statusCode})`);
	return new SaeError(`${none} can't be reached (${firstLine(error)})`);
}

function failedFetch(name: string, path: string, error: Error): SaeError {
	if (error instanceof SaeError) return error;
	const { statusCode } = error as { statusCode?: number };
	if (statusCode === 401 || statusCode === 403) {
		const page = `${process.env.HF_ENDPOINT ?? "https://huggingface.co"}/${name}`;
		return new SaeError(
			`${name}: the Hugging Face Hub does not give ${path} to everyone: accept the conditions at ${page}, and set HF_TOKEN to a token of yours`,
		);
	}
	return new SaeError(
		`${name}: ${path} could not be fetched from the Hugging Face Hub (${statusCode ?? firstLine(error)}); try again`,
	);
}

function firstLine(error: Error): string {
	return error.message.split("\n")[0]!;
}

async function shardsOf(index: string): Promise<string[]> {
	const { weight_map: map } = (await readJson(index)) as { weight_map?: Record<string, string> };
	if (!map) throw new SaeError(`${index}: has no weight_map`);
	return [...new Set(Object.values(map))];
}

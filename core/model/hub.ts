/** Finds a model: a folder on disk, or a repository of the Hugging Face Hub, which is cached. */
import { readdir, readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { SaeError } from "../errors.ts";
import { cacheHome } from "../files/cache.ts";
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
	const folder = join(cacheFolder(), `models--${name.replace("/", "--")}`);
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

function cacheFolder(): string {
	const { HF_HUB_CACHE, HF_HOME } = process.env;
	const home = HF_HOME || join(cacheHome(), "huggingface");
	return HF_HUB_CACHE || join(home, "hub");
}

async function fetched(
	name: string,
	log: { info(message: string): void; progress(message: string): void },
): Promise<string> {
	const { downloadFileToCacheDir, fileExists } = await import("@huggingface/hub");
	const { HF_TOKEN: token, HF_ENDPOINT } = process.env;
	const repo = { type: "model", name } as const;
	const hub = {
		repo,
		cacheDir: cacheFolder(),
		accessToken: token,
		...(HF_ENDPOINT && { hubUrl: HF_ENDPOINT }),
	};
	const fetchFile = (path: string) => {
		log.progress(`fetching ${name}: ${path}`);
		return downloadFileToCacheDir({ ...hub, path });
	};
	try {
		const config = await fetchFile("config.json");
		for (const path of ["tokenizer.json", "tokenizer_config.json"]) {
			if (await fileExists({ ...hub, path })) await fetchFile(path);
		}
		if (await fileExists({ ...hub, path: INDEX })) {
			for (const shard of await shardsOf(await fetchFile(INDEX))) await fetchFile(shard);
		} else await fetchFile(WEIGHTS);
		log.info(`${name} is in ${dirname(config)}`);
		return dirname(config);
	} catch (error) {
		if (error instanceof SaeError) throw error;
		const reason = (error as Error).message.split("\n")[0];
		throw new SaeError(
			`${name}: there is no such folder, and the Hugging Face Hub does not give a model of that name (${reason})`,
		);
	}
}

async function shardsOf(index: string): Promise<string[]> {
	const { weight_map: map } = (await readJson(index)) as { weight_map?: Record<string, string> };
	if (!map) throw new SaeError(`${index}: has no weight_map`);
	return [...new Set(Object.values(map))];
}

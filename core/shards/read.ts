/** Finds folders of shards, joins those of one harvest, and checks that the shards are there and undamaged. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { access, readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { SaeError } from "../errors.ts";
import type { Context } from "../plugin.ts";
import { MANIFEST, type Manifest, PROGRESS, readManifest, type Shard } from "./manifest.ts";
import { shardCount } from "./plan.ts";

export interface ShardFolder {
	readonly path: string;
	readonly manifest: Manifest;
}

/**
 * The folders that `path` stands for: itself when it has a manifest, else the folders in it, all of which must have
 * one and together be every part of one source, if they are parts.
 */
export async function findShards(path: string): Promise<ShardFolder[]> {
	const own = await manifestIn(path);
	if (own) return [own];
	const { compare } = new Intl.Collator("en", { numeric: true });
	const entries = await readdir(path, { withFileTypes: true });
	const names = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
	const found: ShardFolder[] = [];
	for (const name of names.sort(compare)) {
		const folder = await manifestIn(join(path, name));
		if (!folder)
			throw new SaeError(`${join(path, name)}: has no ${MANIFEST}; ${path} must hold shards alone`);
		found.push(folder);
	}
	if (found.length === 0) {
		throw new SaeError(
			`${path}: has no ${MANIFEST}, nor have folders in it; \`sae shard\` writes one, and other files are read by their names or '${join(path, "*")}'`,
		);
	}
	const of = found[0]!.manifest.part?.of ?? 0;
	const there = new Set(found.map(({ manifest }) => manifest.part?.index));
	const missing = Array.from({ length: of }, (_, i) => i + 1).filter((index) => !there.has(index));
	if (missing.length > 0) {
		throw new SaeError(
			`${path}: of ${of} parts, ${missing.join(", ")} ${missing.length > 1 ? "are" : "is"} missing; make them, or name the folders that you want`,
		);
	}
	return found;
}

/**
 * The folders as one, parts in their order.
 * @throws SaeError when they can't be of one harvest: other columns, models or hook points, or a part twice.
 */
export function joinShards(folders: readonly ShardFolder[]): ShardFolder[] {
	const [first, ...others] = folders as [ShardFolder, ...ShardFolder[]];
	const seen = new Map<number, string>();
	for (const key of ["columns", "model", "hook_point", "tokenizer"] as const) {
		for (const { path, manifest } of others) {
			const [one, other] = [JSON.stringify(first.manifest[key]), JSON.stringify(manifest[key])];
			if (one === other) continue;
			throw new SaeError(
				`${join(path, MANIFEST)}: ${key} is ${other}, but in ${first.path} ${one}; join shards of one kind`,
			);
		}
	}
	for (const { path, manifest } of folders) {
		const { part } = manifest;
		if (part?.of !== first.manifest.part?.of) {
			const text = (of: Manifest) => (of.part ? `a part of ${of.part.of}` : "not a part");
			throw new SaeError(
				`${join(path, MANIFEST)}: is ${text(manifest)}, but ${first.path} is ${text(first.manifest)}; join parts of one harvest`,
			);
		}
		if (!part) continue;
		const twin = seen.get(part.index);
		if (twin !== undefined) {
			throw new SaeError(`${path}: is part ${part.index} of ${part.of}, as ${twin} is; leave one out`);
		}
		seen.set(part.index, path);
	}
	return folders.toSorted((a, b) => (a.manifest.part?.index ?? 0) - (b.manifest.part?.index ?? 0));
}

/** Looks at every shard: that it is there and as long as it was; with `verify` also that its content is the same. */
export async function checkShards(
	folders: readonly ShardFolder[],
	verify: boolean,
	{ log, signal }: Pick<Context, "log" | "signal">,
): Promise<void> {
	for (const { path, manifest } of folders) {
		for (const shard of manifest.shards) await checkSize(path, shard);
	}
	if (!verify) return;
	const total = folders.reduce((sum, { manifest }) => sum + manifest.shards.length, 0);
	let done = 0;
	for (const { path, manifest } of folders) {
		for (const shard of manifest.shards) {
			signal.throwIfAborted();
			await checkContent(path, shard);
			log.progress(`${++done} of ${shardCount(total)} verified`);
		}
	}
	log.info(`${shardCount(total)} verified`);
}

async function manifestIn(path: string): Promise<ShardFolder | undefined> {
	const manifest = await readManifest(path);
	if (manifest) return { path, manifest };
	const begun = await access(join(path, PROGRESS)).then(
		() => true,
		() => false,
	);
	if (!begun) return undefined;
	throw new SaeError(
		`${path}: was not written to its end; repeat the command that wrote it with \`sae shard --resume\``,
	);
}

async function checkSize(folder: string, shard: Shard): Promise<void> {
	const path = join(folder, shard.file);
	const status = await stat(path).catch((error: NodeJS.ErrnoException) => {
		if (error.code === "ENOENT") throw broken(folder, shard, "is missing");
		throw new SaeError(`${path}: can't be read (${error.code})`);
	});
	if (status.size !== shard.bytes) {
		throw broken(folder, shard, `has ${status.size} bytes instead of ${shard.bytes}`);
	}
}

async function checkContent(folder: string, shard: Shard): Promise<void> {
	const hash = createHash("sha256");
	for await (const piece of createReadStream(join(folder, shard.file), { highWaterMark: 1 << 20 })) {
		hash.update(piece as Uint8Array);
	}
	if (hash.digest("hex") !== shard.sha256) throw broken(folder, shard, "is not what its checksum says");
}

function broken(folder: string, { file, rows, first_row }: Shard, what: string): SaeError {
	return new SaeError(
		`${join(folder, file)}: ${what}; copy it again, or make ${basename(folder)} again (it has its rows ${first_row} to ${first_row + rows - 1})`,
	);
}

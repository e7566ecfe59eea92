/** Models of the Hub, fetched from a small server that answers as the Hub does. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { mkdtemp, readdir, readFile, readlink, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findModel } from "../../../core/model/index.ts";

const NAME = "someone/tiny";
const SHA = "0123456789abcdef0123456789abcdef01234567";
const SHARDED = {
	"config.json": "{}",
	"tokenizer.json": '{"model": {}}',
	"README.md": "not fetched",
	"model.safetensors.index.json": JSON.stringify({
		weight_map: { a: "one.safetensors", b: "two.safetensors" },
	}),
	"one.safetensors": "1".repeat(70_000),
	"two.safetensors": "2",
};

/** What the server has, and how it behaves. */
let files: Record<string, string>;
let token: string | undefined;
let gated: boolean;
/** A file of which half comes. */
let broken: string | undefined;
let requests: string[];

const server = Bun.serve({
	port: 0,
	fetch(request) {
		const { pathname } = new URL(request.url);
		requests.push(`${request.method} ${pathname}`);
		const known = request.headers.get("Authorization") === `Bearer ${token}`;
		if (pathname.startsWith(`/api/models/${NAME}/revision/`)) {
			if (token && !gated && !known) return Response.json({ error: "Repository not found" }, { status: 401 });
			const siblings = Object.keys(files).map((rfilename) => ({ rfilename }));
			return Response.json({ _id: "1", id: NAME, sha: SHA, siblings, lastModified: 0 });
		}
		const start = `/${NAME}/resolve/${SHA}/`;
		if (!pathname.startsWith(start)) return Response.json({ error: "Repository not found" }, { status: 404 });
		if (gated && !known) return Response.json({ error: "Access is restricted" }, { status: 403 });
		const path = pathname.slice(start.length);
		const content = files[path]!;
		const headers = { ETag: `"etag-of-${path}"` };
		if (request.headers.get("Range") === "bytes=0-0") {
			const range = { ...headers, "Content-Range": `bytes 0-0/${content.length}` };
			return new Response(content.slice(0, 1), { status: 206, headers: range });
		}
		return new Response(path === broken ? content.slice(0, content.length / 2) : content, { headers });
	},
});

const VARIABLES = ["HF_ENDPOINT", "HF_HUB_CACHE", "HF_TOKEN"] as const;
const before = VARIABLES.map((name) => process.env[name]);
const log = { info() {}, progress() {} };
let folder: string;
let cache: string;

beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-hub-"));
});
beforeEach(async () => {
	cache = await mkdtemp(join(folder, "cache-"));
	[files, token, gated, broken, requests] = [SHARDED, undefined, false, undefined, []];
	Object.assign(process.env, { HF_ENDPOINT: server.url.origin, HF_HUB_CACHE: cache });
	delete process.env.HF_TOKEN;
});
afterEach(() => {
	for (const [i, name] of VARIABLES.entries()) {
		if (before[i] === undefined) delete process.env[name];
		else process.env[name] = before[i];
	}
});
afterAll(async () => {
	await server.stop(true);
	await rm(folder, { recursive: true });
});

const blobs = () => readdir(join(cache, "models--someone--tiny", "blobs")).catch(() => []);

test("is stored as Python's library stores it, and then needs no network", async () => {
	const found = await findModel(NAME, log);
	expect(found).toBe(join(cache, "models--someone--tiny", "snapshots", SHA));
	const { "README.md": _, ...wanted } = SHARDED;
	expect((await readdir(found)).sort()).toEqual(Object.keys(wanted).sort());
	for (const [path, content] of Object.entries(wanted)) {
		expect(await readFile(join(found, path), "utf8")).toBe(content);
		expect(await readlink(join(found, path))).toBe(`../../blobs/etag-of-${path}`);
	}
	expect(await readFile(join(found, "../../refs/main"), "utf8")).toBe(SHA);
	process.env.HF_ENDPOINT = "http://127.0.0.1:9";
	expect(await findModel(NAME, log)).toBe(found);
});

test("may be fetched by the tasks of a job at once", async () => {
	const module = join(import.meta.dir, "../../../core/model/index.ts");
	const script = `const { findModel } = await import(${JSON.stringify(module)});
		process.stdout.write(await findModel("${NAME}", { info() {}, progress() {} }));`;
	const run = () => Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", env: process.env });
	// Standard output is for data: nothing else may be there.
	const found = await Promise.all([run(), run()].map(({ stdout }) => new Response(stdout).text()));
	expect(found).toEqual(Array(2).fill(join(cache, "models--someone--tiny", "snapshots", SHA)));
	expect(await readFile(join(found[0]!, "one.safetensors"), "utf8")).toBe(SHARDED["one.safetensors"]);
});

test("leaves no half file when a transfer breaks off, and goes on from there", async () => {
	broken = "one.safetensors";
	await expect(findModel(NAME, log)).rejects.toThrow(
		/^someone\/tiny: one.safetensors could not be fetched from the Hugging Face Hub \(only 35.0 kB of 70.0 kB came\); try again$/,
	);
	expect((await blobs()).sort()).toEqual(
		["config.json", "model.safetensors.index.json", "tokenizer.json"].map((path) => `etag-of-${path}`),
	);
	[broken, requests] = [undefined, []];
	await findModel(NAME, log);
	expect(
		requests.filter((request) => request.includes("resolve")).map((request) => request.split("/").pop()),
	).toEqual(["one.safetensors", "one.safetensors", "two.safetensors", "two.safetensors"]);
});

test("that is private is given for a token", async () => {
	token = "hf_secret";
	await expect(findModel(NAME, log)).rejects.toThrow(
		/^someone\/tiny: there is no such folder, and the Hugging Face Hub has no model of that name, or it needs a token \(HF_TOKEN\)$/,
	);
	process.env.HF_TOKEN = token;
	expect(await findModel(NAME, log)).toEndWith(SHA);
});

test("that is gated says where its conditions are", async () => {
	[token, gated] = ["hf_secret", true];
	await expect(findModel(NAME, log)).rejects.toThrow(
		`someone/tiny: the Hugging Face Hub does not give config.json to everyone: accept the conditions at ${server.url.origin}/someone/tiny, and set HF_TOKEN to a token of yours`,
	);
	expect(await blobs()).toEqual([]);
});

test("that is none, or has no safetensors, is one line", async () => {
	await expect(findModel("someone/else", log)).rejects.toThrow("has no model of that name");
	files = { "config.json": "{}", "pytorch_model.bin": "" };
	await expect(findModel(NAME, log)).rejects.toThrow(
		/^someone\/tiny: the model on the Hugging Face Hub has no model.safetensors$/,
	);
});

/** `sae search`, from its words to its rows. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeArrowFile } from "../../core/arrow/writer.ts";
import { saveSae } from "../../core/load.ts";
import { identitySae, labelledStream } from "../plugins/labelled.ts";
import { sae, shell } from "./sae.ts";

let folder: string;
const path = (name: string) => join(folder, name);

beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-search-"));
	await saveSae(identitySae(4, 2), path("sae"));
	const rows = [
		[3, 1, 0, 0],
		[3, 2, 0, 0],
		[0, 0, 3, 1],
		[0, 3, 1, 0],
		[0, 3, 0, 1],
	];
	const words = rows.map((_, i) => `text ${i}`);
	await writeArrowFile(labelledStream(rows, { text: words }), path("rows.arrow"));
});
afterAll(() => rm(folder, { recursive: true }));

async function rows(...words: string[]) {
	const { stdout, stderr, exitCode } = await sae(["search", path("sae"), ...words, "--format", "json"]);
	expect({ stderr, exitCode }).toMatchObject({ exitCode: 0 });
	return {
		stderr,
		rows: stdout
			.trimEnd()
			.split("\n")
			.map((line) => JSON.parse(line)),
	};
}

test("by latents, from a pipe of activations or of latents", async () => {
	const { rows: found } = await rows(path("rows.arrow"), "--latent", "1:2,0:-1");
	expect(found.map(({ text }) => text)).toEqual(["text 3", "text 4", "text 1", "text 0"]);
	expect(found[2]).toEqual({
		rank: 3,
		score: 1,
		row: 1,
		latents: [
			{ index: 0, value: 3 },
			{ index: 1, value: 2 },
		],
		text: "text 1",
	});
	const piped = await shell(
		`cd ${folder} && sae encode sae rows.arrow | sae search sae --latent 1:2,0:-1 --format json`,
	);
	expect(
		piped.stdout
			.trimEnd()
			.split("\n")
			.map((line) => JSON.parse(line)),
	).toEqual(found);
});

test("by a row, as it is and with latents changed", async () => {
	const plain = await rows(path("rows.arrow"), "--query-row", "0", "--top", "2");
	expect(plain.rows.map(({ text }) => text)).toEqual(["text 1", "text 3"]);
	const words = ["--query-row", "0", "--clamp", "2=3", "--ablate", "0", "--top", "2"];
	const steered = await rows(path("rows.arrow"), ...words);
	expect(steered.rows.map(({ text }) => text)).toEqual(["text 2", "text 3"]);
	expect(steered.rows[1].latents).toEqual([
		{ index: 1, value: 3 },
		{ index: 2, value: 1 },
	]);
	// (3, 1, 0, 0) and (0, 1, 3, 0).
	expect(steered.stderr).toContain("the cosine of the changed query with the query is 0.100");
	const sparse = await rows(
		path("rows.arrow"),
		"--query",
		path("rows.arrow"),
		...words,
		"--space",
		"latents",
	);
	expect(sparse.rows.map(({ text }) => text)).toEqual(["text 2", "text 3"]);
});

test.each([
	[[], "either --latent, or --query or --query-row"],
	[["--latent", "1", "--query-row", "0"], "either --latent, or --query or --query-row"],
	[["--latent", "1", "--ablate", "2"], "change a query: give one"],
	[["--latent", "4"], "the SAE has the latents 0 to 3"],
	[["--query-row", "0", "--clamp", "1:2=3"], "a query has one SAE and no positions"],
	[["--query-row", "9"], "there is no row 9"],
] as const)("refuses %j", async (words, message) => {
	const { stderr, stdout, exitCode } = await sae(["search", path("sae"), path("rows.arrow"), ...words]);
	expect(stderr).toContain(message);
	expect({ stdout, usage: exitCode === 2 }).toEqual({ stdout: "", usage: !message.startsWith("there") });
});

/** Reports on the table of a sweep: the page of its Pareto fronts, and its scaling laws. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { complete } from "../../cli/complete.ts";
import { columnTypes, tableBatch, tableSchema } from "../../core/arrow/metrics.ts";
import { writeArrowFile } from "../../core/arrow/writer.ts";
import type { MetricRow } from "../../core/plugin.ts";
import { sae, shell } from "./sae.ts";
import { metricsIn } from "./training.ts";

let folder: string;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-report-"));
});
afterAll(() => rm(folder, { recursive: true }));
const path = (name: string) => join(folder, name);

async function writeTable(name: string, rows: MetricRow[], kind: "metrics" | "latents" = "metrics") {
	const schema = tableSchema(columnTypes(rows), kind);
	const batches = (async function* () {
		yield tableBatch(schema, rows);
	})();
	await writeArrowFile({ schema, batches }, path(name));
	return path(name);
}

const LAW = { alpha: -0.5, beta_k: 0.26, beta_n: -0.017, gamma: -0.042, zeta: -1.32, eta: -0.085 };

function fvuOf(n: number, k: number): number {
	const [lnN, lnK] = [Math.log(n), Math.log(k)];
	return (
		Math.exp(LAW.alpha + LAW.beta_k * lnK + LAW.beta_n * lnN + LAW.gamma * lnK * lnN) +
		Math.exp(LAW.zeta + LAW.eta * lnK)
	);
}

/** A sweep whose SAEs follow the law; the second seed is always worse. */
function lawful(architecture: string, sizes: number[], sparsities: number[]): MetricRow[] {
	return sizes.flatMap((d_sae) =>
		sparsities.flatMap((k) =>
			[0, 1].map((seed) => ({
				sae: `${architecture}-${d_sae}-${k}-${seed}`,
				architecture,
				d_sae,
				seed,
				lr: null,
				k,
				fvu: 0.9,
				eval_fvu: fvuOf(d_sae, k) * (1 + 0.1 * seed),
				l0: 1,
				eval_l0: k,
				dead: 0,
			})),
		),
	);
}

const SIZES = [2048, 8192, 32768, 131072];
const SPARSITIES = [8, 32, 128];

/** How many elements of a page match each selector. */
async function countOf(page: string, ...selectors: string[]): Promise<number[]> {
	const counts = selectors.map(() => 0);
	const rewriter = new HTMLRewriter();
	for (const [i, selector] of selectors.entries()) {
		rewriter.on(selector, {
			element() {
				counts[i]!++;
			},
		});
	}
	await rewriter.transform(new Response(page)).text();
	return counts;
}

describe("sae report pareto", () => {
	test("draws a point for each SAE and a line for each architecture and size, and lists all", async () => {
		const diverged = {
			...lawful("other", [2048], [8])[0]!,
			sae: "wild",
			eval_fvu: null,
			fvu: null,
			l0: null,
		};
		const rows = [...lawful("topk", SIZES, SPARSITIES), ...lawful("other", [2048], [8]), diverged];
		const table = await writeTable("pareto.arrow", rows);
		const { exitCode, stderr, stdout } = await sae(["report", "pareto", table, "--out", path("pareto.html")]);
		expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: "" });
		expect(stderr).toContain("no scaling law for other: L(n, k) needs at least 7 points");
		const page = await Bun.file(path("pareto.html")).text();
		const parts = [
			".legend li",
			".pareto .point",
			".pareto .mark.open",
			".pareto > svg > .curve",
			".results tbody tr",
		];
		expect(await countOf(page, ...parts)).toEqual([2, 26, 13, 5, 27]);
		expect(page).toContain("<h1>Sparse autoencoders compared</h1>");
		expect(page).toContain("27 SAEs; FVU and L0 on held-out rows. 1 without figures");
		expect(page).toMatch(/<title>topk-2048-8-0\narchitecture: topk\nd_sae: 2048/);
		expect(page).toContain('<td class="text">wild</td>');
	});

	test("fetches nothing, runs nothing, and takes no name for markup", async () => {
		const evil = `<script>alert("1")</script>&`;
		const rows = lawful(evil, [64], [4]).map((row) => ({ ...row, note: evil }));
		const table = await writeTable("evil.arrow", rows);
		const { stdout, exitCode } = await shell(`sae report pareto < ${table} --title '${evil}'`);
		expect(exitCode).toBe(0);
		expect(stdout).toStartWith("<!doctype html>");
		expect(await countOf(stdout, "script", "[src]", "[href]", "link", "iframe", "object")).toEqual(
			Array(6).fill(0),
		);
		expect(stdout).not.toContain("<script");
		expect(stdout).not.toContain("http://");
		expect(stdout).toContain("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;</h1>");
		expect(stdout).toContain("default-src 'none'");
	});

	test("uses figures of training where some SAE has none on held-out rows", async () => {
		const [first, ...others] = lawful("topk", [64], [4, 8]);
		const table = await writeTable("mixed.arrow", [{ ...first!, eval_fvu: null, eval_l0: null }, ...others]);
		const { stdout } = await sae(["report", "pareto", table]);
		expect(stdout).toContain("FVU and L0 on the last batch of training.");
	});

	test("does without figures of training", async () => {
		const rows = lawful("topk", [64], [4, 8]).map((row) => ({ ...row, fvu: null, l0: null }));
		const { stdout } = await sae(["report", "pareto", await writeTable("held.arrow", rows)]);
		expect(stdout).toContain("4 SAEs; FVU and L0 on held-out rows.");
	});

	test("shows the law that the SAEs follow", async () => {
		const table = await writeTable("laws.arrow", lawful("topk", SIZES, SPARSITIES));
		const { stdout, stderr } = await sae(["report", "pareto", table]);
		expect(stderr).toBe("");
		const cells = [...stdout.matchAll(/<td class="text">(\w+)<\/td><td class="number">([^<]+)<\/td>/g)];
		const shown = Object.fromEntries(cells.map(([, name, value]) => [name, Number(value)]));
		expect(shown).toMatchObject(LAW);
		// A swatch, a front for each size, and the law for each k.
		const curves = 1 + SIZES.length + SPARSITIES.length;
		expect(await countOf(stdout, "figure", "figure .curve")).toEqual([2, curves]);
	});

	test.each<[string, MetricRow[], string]>([
		["without a column it needs", [{ sae: "a", step: 1, fvu: 0.1 }], "no column architecture, d_sae, l0"],
		[
			"of SAEs that all diverged",
			[{ sae: "a", architecture: "topk", d_sae: 8, fvu: null, l0: null }],
			"the table has no SAE with an FVU and an L0 above 0",
		],
	])("refuses a table %s", async (_, rows, message) => {
		const table = await writeTable("wrong.arrow", rows);
		const { exitCode, stderr } = await sae(["report", "pareto", table, "--out", path("wrong.html")]);
		expect(exitCode).toBe(3);
		expect(stderr).toContain(message);
		expect(await readdir(folder)).not.toContain("wrong.html");
	});

	test("refuses a stream that is no table", async () => {
		const stream = await writeTable("latents.arrow", [{ a: 1 }], "latents");
		const { exitCode, stderr } = await sae(["report", "pareto", stream]);
		expect(exitCode).toBe(3);
		expect(stderr).toContain("is a stream of latents, but metrics are needed");
	});
});

describe("sae report scaling", () => {
	test("finds the parameters of the law that the best SAEs follow", async () => {
		const table = await writeTable("scaling.arrow", lawful("topk", SIZES, SPARSITIES));
		const words = ["report", "scaling", table, "--format", "json", "--residuals", path("residuals.json")];
		const { stdout, stderr, exitCode } = await sae(words);
		expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
		const rows = stdout
			.trim()
			.split("\n")
			.map((line) => JSON.parse(line));
		const joint = rows.filter(({ law }) => law === "L(n, k)");
		expect(joint.map(({ parameter }) => parameter)).toEqual(Object.keys(LAW));
		for (const row of joint) {
			expect(row.value).toBeCloseTo(LAW[row.parameter as keyof typeof LAW], 5);
			expect(row).toMatchObject({ architecture: "topk", k: null, points: 12 });
			expect(row.r2).toBeCloseTo(1, 9);
			expect(row.rms).toBeLessThan(1e-8);
		}
		const atEight = rows.filter(({ law, k }) => law === "L(n)" && k === 8);
		const ln8 = Math.log(8);
		expect(atEight.map(({ parameter, value }) => [parameter, value])).toEqual([
			["alpha", expect.closeTo(LAW.alpha + LAW.beta_k * ln8, 4)],
			["beta_n", expect.closeTo(LAW.beta_n + LAW.gamma * ln8, 4)],
			["zeta", expect.closeTo(LAW.zeta + LAW.eta * ln8, 4)],
		]);
		const residuals = await metricsIn(path("residuals.json"));
		expect(residuals.length).toBe(12 + 12);
		for (const { d_sae, k, fvu, fitted, residual } of residuals) {
			expect(fvu).toBeCloseTo(fvuOf(Number(d_sae), Number(k)), 12);
			expect(fitted).toBeCloseTo(Number(fvu), 8);
			expect(residual).toBeCloseTo(0, 8);
		}
	});

	test("takes the measured L0 where there is no k, and the best of each setting", async () => {
		const rows = lawful("relu", SIZES, SPARSITIES).map(({ k, ...row }) => ({ ...row, l1: 1 / Number(k) }));
		const table = await writeTable("l0.arrow", rows);
		const { stdout } = await sae(["report", "scaling", table, "--format", "json"]);
		const found = stdout
			.trim()
			.split("\n")
			.map((line) => JSON.parse(line));
		expect(found.map(({ law, points }) => [law, points])).toEqual(Array(6).fill(["L(n, k)", 12]));
		for (const { parameter, value } of found)
			expect(value).toBeCloseTo(LAW[parameter as keyof typeof LAW], 5);
	});

	test("says what is missing for a law", async () => {
		const table = await writeTable("few.arrow", lawful("topk", SIZES.slice(0, 2), SPARSITIES));
		const { stderr, exitCode } = await sae(["report", "scaling", table]);
		expect(exitCode).toBe(3);
		expect(stderr).toContain(
			"topk: L(n, k) needs at least 7 points of 3 sizes and 2 sparsities; there are 6 points of 2 sizes and 3 sparsities",
		);
		expect(stderr).toContain("topk, k 8: L(n) needs at least 4 points of 4 sizes");
		expect(stderr).toContain("sae: no law could be fitted");
	});
});

describe("the verb", () => {
	test("lists its reports, and each has a page of help", async () => {
		const { stdout } = await sae(["report", "--help"]);
		expect(stdout).toMatch(/\n {2}pareto +a page .*\n(.*\n)* {2}scaling +/);
		const page = await sae(["report", "scaling", "--help"]);
		expect(page.stdout).toStartWith("sae report scaling: ");
		expect(page.stdout).toContain("\nUsage: sae report scaling [INPUT] [options]\n");
	});

	test.each([
		[
			[],
			"which report? Write its name right after the verb: sae report features, sae report pareto, sae report scaling",
		],
		[["pareot"], "unknown report pareot; did you mean pareto?"],
		[["pareto", "--oot", "x"], "unknown option --oot; did you mean --out?"],
	])("refuses %j", async (words, message) => {
		const { exitCode, stderr } = await sae(["report", ...words]);
		expect({ exitCode, stderr }).toEqual({ exitCode: 2, stderr: `sae: ${message}\n` });
	});

	test("is completed", async () => {
		const words = async (...typed: string[]) => (await complete(typed)).map(({ word }) => word);
		expect(await words("report", "")).toEqual(["features", "pareto", "scaling"]);
		expect(await words("report", "pareto", "--t")).toEqual(["--title"]);
		expect(await words("report", "scaling", "")).toEqual([":files"]);
	});
});

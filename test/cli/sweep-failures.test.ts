/** Sweeps in which something fails: what is done stays, and going on tries only the rest. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writePackage } from "../packages/packages.ts";
import { shell } from "./sae.ts";
import { metricsIn, writeRows } from "./training.ts";

let folder: string;
const path = (name: string) => join(folder, name);

/** TopK whose SAEs can't be finished while there is a file called `broken`; `wide` asks for too much at once. */
const FRAGILE = `
import { existsSync } from "node:fs";
export default {
	name: "fragile",
	apiVersion: 1,
	contributes: ({ z }) => [{
		kind: "architecture",
		name: "fragile",
		summary: "breaks at the end",
		options: z.object({ k: z.int().default(2).describe("k"), wide: z.boolean().default(false).describe("wide") }),
		training: ({ k, wide }) => ({
			parameters: [
				{ name: "W_dec", shape: ["d_sae", "d_out"], init: { kind: "random_rows" } },
				{ name: "W_enc", shape: ["d_sae", "d_in"], init: { kind: "copy", of: "W_dec", scale: 1 } },
				{ name: "b_enc", shape: ["d_sae"], init: { kind: "constant" } },
				{ name: "b_dec", shape: ["d_out"], init: { kind: "data_centre", method: "mean" } },
			],
			apply_b_dec_to_input: true,
			loss: [{
				name: "reconstruction", latents: "all", select: { kind: "topk", k }, target: "data", bias: true,
				reduction: "sum", weight: 1,
			}],
			...(wide && { allocation: { every: 1, plan() { throw new Error("no plan"); } } }),
		}),
		settings: ({ k }) => ({ k }),
		finish(model) {
			if (existsSync("broken")) throw new Error("this one breaks");
			return { ...model, architecture: "topk" };
		},
		inference: ({ settings }) => ({ select: { kind: "topk", k: Number(settings.k) } }),
	}],
};
`;

beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-sweep-failures-"));
	await writeRows(path("rows.arrow"), 2000);
	await writePackage(folder, "fragile", {
		source: FRAGILE,
		json: { name: "fragile", sae: { apiVersion: 1, provides: ["architecture:fragile"] } },
	});
	await writeFile(path("sae.config.toml"), 'plugins = ["./fragile"]\n');
});
afterAll(() => rm(folder, { recursive: true }));

/** A sweep into the folder `out`, whose table goes beside it as JSON. */
async function sweep(out: string, words: string) {
	const trainer = "--tokens 1280 --batch-size 64 --sample-rows 512 --d-sae 32";
	const ended = await shell(
		`cd ${folder} && sae sweep rows.arrow ${words} ${trainer} --out ${out} --metrics ${out}.json`,
	);
	const table = (await Bun.file(path(`${out}.json`)).exists()) ? await metricsIn(path(`${out}.json`)) : [];
	return { ...ended, names: table.map(({ sae }) => sae) };
}

const TOPK = ["topk-k2-d-sae32-seed0", "topk-k3-d-sae32-seed0"];
const BROKEN = "fragile-d-sae32-seed0";

test("an SAE that can't be finished is named and has no row; later it is saved without being trained again", async () => {
	const words = "--sae 'topk --k 2' --sae fragile --sae 'topk --k 3'";
	await writeFile(path("broken"), "");
	const first = await sweep("finish", words);
	expect(first.exitCode).toBe(1);
	expect(first.stderr).toContain(`${BROKEN}: is trained, but could not be saved: this one breaks\n`);
	expect(first.stderr).toEndWith(
		`sae: 1 of 3 SAEs failed and has no row: ${BROKEN}; the same words with --resume try only what is missing\n`,
	);
	expect(first.names).toEqual(TOPK);
	expect((await readdir(path("finish"))).sort()).toEqual(["sweep.json", ...TOPK, "training"]);

	// Still broken: the others are not written again.
	const written = () =>
		Promise.all(TOPK.map(async (name) => (await stat(path(`finish/${name}/cfg.json`))).mtimeMs));
	const before = await written();
	expect(await sweep("finish", `${words} --resume`)).toMatchObject({ exitCode: 1, names: TOPK });
	const without = await sweep("finish", "--sae 'topk --k 2' --sae fragile --resume");
	expect(without.exitCode).toBe(2);
	expect(without.stderr).toContain(
		`${TOPK[1]} shares its training state with ${BROKEN}, so it can't be left out`,
	);
	expect(await sweep("finish", "--sae 'topk --k 2' --resume")).toMatchObject({
		exitCode: 0,
		names: [TOPK[0]!],
	});

	await rm(path("broken"));
	const last = await sweep("finish", `${words} --resume`);
	expect(last).toMatchObject({ exitCode: 0, names: [TOPK[0]!, BROKEN, TOPK[1]!] });
	expect(last.stderr).not.toContain("step ");
	expect(await written()).toEqual(before);
	expect(await readdir(path("finish/training"))).toEqual(["1.jsonl"]);
	const whole = await sweep("undisturbed", words);
	expect(whole.exitCode).toBe(0);
	const weights = (out: string) => Bun.file(path(`${out}/${BROKEN}/sae_weights.safetensors`)).bytes();
	expect(await weights("finish")).toEqual(await weights("undisturbed"));
});

test("a folder that can't be written costs only its SAE", async () => {
	await Bun.write(path(`taken/${TOPK[0]}`), "a file where the SAE's folder has to go");
	const words = "--sae 'topk --k 2,3' --resume";
	const first = await sweep("taken", words);
	expect(first).toMatchObject({ exitCode: 3, names: [TOPK[1]!] });
	expect(first.stderr).toContain(`${TOPK[0]}: is trained, but could not be saved: `);
	await rm(path(`taken/${TOPK[0]}`));
	expect(await sweep("taken", words)).toMatchObject({ exitCode: 0, names: TOPK });
});

test("a group that fails leaves the groups before and after it; a first one ends the sweep", async () => {
	const words = (first: string) => `--sae '${first}' --sae 'fragile --wide' --sae 'topk --k 3' --memory 1`;
	const failed = await sweep("groups", words("topk --k 2"));
	expect(failed).toMatchObject({ exitCode: 1, names: TOPK });
	expect(failed.stderr).toContain(
		"fragile-widetrue-d-sae32-seed0: training failed, the others go on: no plan\n",
	);
	const again = await sweep("groups", `${words("topk --k 2")} --resume`);
	expect(again).toMatchObject({ exitCode: 1, names: TOPK });
	expect(again.stderr).toContain("1 SAE to train");
	expect(await sweep("groups", "--sae 'topk --k 2,3' --resume")).toMatchObject({ exitCode: 0, names: TOPK });

	const none = await sweep("none", "--sae 'fragile --wide' --sae 'topk --k 2' --memory 1");
	expect(none).toMatchObject({ exitCode: 1, names: [] });
	expect(await readdir(folder)).not.toContain("none");
});

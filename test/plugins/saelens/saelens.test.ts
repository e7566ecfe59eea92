import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { core } from "../../../core/api.ts";
import { fromFloat32 } from "../../../core/files/dtype.ts";
import { openSafetensors, writeSafetensors } from "../../../core/files/safetensors.ts";
import type { ExporterContribution, ImporterContribution } from "../../../core/plugin.ts";
import type { SaeModel, Tensor } from "../../../core/sae.ts";
import saelens from "../../../plugins/saelens.ts";
import { randomTopK } from "../../reference/models.ts";
import { decode, encodeTopK } from "../../reference/topk.ts";

const contributions = saelens.contributes(core);
const [exporter, native] = ["saelens", "native"].map((wanted) =>
	contributions.find(({ kind, name }) => kind === "exporter" && name === wanted),
) as [ExporterContribution, ExporterContribution];
const importer = contributions.find(({ kind }) => kind === "importer") as ImporterContribution;
const FIXTURE = join(import.meta.dir, "../../fixtures/saelens-topk");

let folder: string;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-saelens-"));
});
afterAll(() => rm(folder, { recursive: true }));

const model: SaeModel = {
	...randomTopK(6, 10, 3),
	metadata: { model_name: "tiny", tokens: 1000, nested: { loss: [1, 2] } },
};
const write = (sae: SaeModel, path: string, dtype = "float32") => exporter.write(sae, path, { dtype });
const cfgOf = async (path: string) => JSON.parse(await readFile(join(path, "cfg.json"), "utf8"));

describe("writing", () => {
	test("gives exactly the files, keys, tensors and shapes of SAELens 6", async () => {
		const path = join(folder, "layout");
		await write(model, path);
		expect((await readdir(path)).toSorted()).toEqual(["cfg.json", "sae_weights.safetensors"]);
		expect(await cfgOf(path)).toEqual({
			architecture: "topk",
			d_in: 6,
			d_sae: 10,
			dtype: "float32",
			device: "cpu",
			apply_b_dec_to_input: true,
			normalize_activations: "none",
			reshape_activations: "none",
			k: 3,
			rescale_acts_by_decoder_norm: true,
			metadata: { model_name: "tiny", tokens: 1000, nested: { loss: [1, 2] }, sae_lens_version: "6.0.0" },
		});
		const file = await openSafetensors(join(path, "sae_weights.safetensors"));
		const shapes = [...file.tensors.values()].map(({ name, dtype, shape }) => [name, dtype, shape] as const);
		await file.close();
		expect(shapes.toSorted()).toEqual([
			["W_dec", "f32", [10, 6]],
			["W_enc", "f32", [6, 10]],
			["b_dec", "f32", [6]],
			["b_enc", "f32", [10]],
		]);
	});

	test("and reading back gives the same SAE, bit by bit", async () => {
		const path = join(folder, "round-trip");
		await write(model, path);
		expect(await importer.detect(path)).toBe(true);
		const reread = await importer.read(path);
		expect(reread).toEqual({ ...model, metadata: { ...model.metadata, sae_lens_version: "6.0.0" } });
		await write(reread, path);
		expect(await importer.read(path)).toEqual(reread);
	});

	test("decoder rows that aren't unit stay out of the selection", async () => {
		const path = join(folder, "norms");
		const stretched = { ...model, tensors: { ...model.tensors, W_dec: scaled(model.tensors.W_dec!, 2) } };
		await write(stretched, path);
		expect((await cfgOf(path)).rescale_acts_by_decoder_norm).toBe(false);
		expect((await importer.read(path)).tensors).toEqual(stretched.tensors);
	});

	test("narrower float types round", async () => {
		for (const dtype of ["float16", "bfloat16"]) {
			const path = join(folder, dtype);
			await write(model, path, dtype);
			expect((await cfgOf(path)).dtype).toBe(dtype);
			const { data } = (await importer.read(path)).tensors.W_enc!;
			expect(data).not.toEqual(model.tensors.W_enc!.data);
			for (const [i, value] of data.entries()) expect(value).toBeCloseTo(model.tensors.W_enc!.data[i]!, 2);
		}
	});

	test("a value that the float type can't hold is refused, and nothing is left behind", async () => {
		const path = join(folder, "overflow");
		const large = { ...model, tensors: { ...model.tensors, b_dec: scaled(model.tensors.b_dec!, 1e6) } };
		await expect(write(large, path, "float16")).rejects.toThrow("too large for f16; use float32");
		await expectAbsent(path);
	});

	test("other architectures keep their own tensors", async () => {
		const { b_enc, ...weights } = model.tensors;
		const gated: SaeModel = {
			...model,
			architecture: "gated",
			settings: {},
			tensors: { ...weights, b_gate: b_enc!, b_mag: scaled(b_enc!, 2), r_mag: scaled(b_enc!, 3) },
		};
		const path = join(folder, "gated");
		await write(gated, path);
		expect((await importer.read(path)).tensors).toEqual(gated.tensors);
		expect(await cfgOf(path)).not.toContainKey("k");
	});

	test.each<[string, Partial<SaeModel>, string]>([
		["an architecture that nobody knows", { architecture: "temporal" }, "no architecture like temporal"],
		[
			"an architecture that SAELens lacks",
			{ architecture: "groupmax" },
			"SAELens has no architecture like groupmax, so it could not load this SAE; sae export native writes",
		],
		["a missing setting", { settings: {} }, "lacks the setting k"],
		["a setting without a place", { settings: { k: 3, alpha: 2 } }, "the setting alpha"],
		["a missing tensor", { tensors: {} }, "tensor W_enc is missing"],
		["sizes that disagree", { d_sae: 11 }, "d_in 6 and d_sae 11 make it [6, 11]"],
		[
			"NaN",
			{ tensors: { ...model.tensors, b_enc: { shape: [10], data: new Float32Array(10).fill(Number.NaN) } } },
			"tensor b_enc holds NaN",
		],
	])("refuses %s", async (name, change, message) => {
		const path = join(folder, `refused ${name}`);
		await expect(write({ ...model, ...change }, path)).rejects.toThrow(message);
		await expectAbsent(path);
	});
});

describe("native folders", () => {
	const { W_enc, b_enc, W_dec, b_dec } = model.tensors as Record<
		"W_enc" | "b_enc" | "W_dec" | "b_dec",
		Tensor
	>;
	const threshold = scaled(b_enc, 2);
	/** To targets of width 2, whose decoder is the first columns of the model's. */
	const narrow: SaeModel = {
		...model,
		architecture: "transcoder",
		d_out: 2,
		apply_b_dec_to_input: false,
		tensors: {
			W_enc,
			b_enc,
			W_dec: { shape: [10, 2], data: W_dec.data.slice(0, 20) },
			b_dec: { shape: [2], data: b_dec.data.slice(0, 2) },
		},
	};
	const others: Record<string, SaeModel> = {
		groupmax: { ...model, architecture: "groupmax", settings: { k: 5 } },
		"signed-topk": { ...model, architecture: "signed-topk" },
		crosscoder: {
			...model,
			architecture: "crosscoder",
			settings: { sources: 3 },
			tensors: { ...model.tensors, threshold },
		},
		topk_transcoder: narrow,
		jumprelu_transcoder: { ...narrow, settings: {}, tensors: { ...narrow.tensors, threshold } },
		transcoder: { ...narrow, settings: {} },
	};

	test.each(Object.keys(others))("%s reads back as it was", async (name) => {
		const path = join(folder, `native ${name}`);
		const given = others[name]!;
		await native.write(given, path, { dtype: "float32" });
		expect((await cfgOf(path)).architecture).toBe(name);
		const reread = await importer.read(path);
		expect(reread).toEqual({ ...given, metadata: { ...given.metadata, sae_lens_version: "6.0.0" } });
	});

	test.each(["groupmax", "signed-topk", "crosscoder", "topk_transcoder"])(
		"%s is none of SAELens'",
		async (name) => {
			const path = join(folder, `strict ${name}`);
			await expect(write(others[name]!, path)).rejects.toThrow(`SAELens has no architecture like ${name}`);
			await expectAbsent(path);
		},
	);

	test("transcoders of SAELens say how wide their targets are, even where that is the input's width", async () => {
		const path = join(folder, "transcoder widths");
		await write(others.jumprelu_transcoder!, path);
		expect(await cfgOf(path)).toMatchObject({ d_in: 6, d_out: 2, apply_b_dec_to_input: false });
		await write({ ...model, architecture: "transcoder", settings: {}, apply_b_dec_to_input: false }, path);
		expect(await cfgOf(path)).toMatchObject({ architecture: "transcoder", d_in: 6, d_out: 6 });
		expect(await importer.read(path)).not.toContainKey("d_out");
	});

	test.each<[string, SaeModel, string]>([
		["targets of another width", { ...narrow, d_out: 3 }, "d_in 6, d_out 3 and d_sae 10 make it [10, 3]"],
		[
			"a b_dec of the targets taken from the input",
			{ ...narrow, apply_b_dec_to_input: true },
			"its input can't have it subtracted",
		],
		["a crosscoder of unknown sources", { ...others.crosscoder!, settings: {} }, "lacks the setting sources"],
		[
			"sources that don't share the columns equally",
			{ ...others.crosscoder!, settings: { sources: 4 } },
			"field sources: must divide d_in",
		],
	])("refuses %s", async (name, given, message) => {
		const path = join(folder, `refused native ${name}`);
		await expect(native.write(given, path, { dtype: "float32" })).rejects.toThrow(message);
		await expectAbsent(path);
	});
});

describe("rewriting a folder", () => {
	test("replaces the SAE and keeps everything else", async () => {
		const path = join(folder, "rewritten");
		await mkdir(join(path, "training"), { recursive: true });
		await writeFile(join(path, "training", "state"), "kept");
		await write(model, path);
		const other = randomTopK(4, 9, 2, 5);
		await write(other, `${path}/`);
		expect((await importer.read(path)).tensors).toEqual(other.tensors);
		expect(await readFile(join(path, "training", "state"), "utf8")).toBe("kept");
		expect((await readdir(path)).toSorted()).toEqual(["cfg.json", "sae_weights.safetensors", "training"]);
	});

	test("readers always get one SAE or the other", async () => {
		const path = join(folder, "raced");
		// Same shapes, so that only the folder's order of steps keeps k and weights together.
		const [a, b] = [randomTopK(6, 10, 3, 11), randomTopK(6, 10, 4, 12)];
		await write(a, path);
		let writing = true;
		const writer = (async () => {
			for (let i = 0; i < 20; i++) await write(i % 2 ? a : b, path);
			writing = false;
		})();
		let reads = 0;
		while (writing) {
			const read = await importer.read(path).catch((error: Error) => {
				expect(error.message).toContain("writing was interrupted");
			});
			if (!read) continue;
			reads++;
			expect(read.tensors).toEqual(read.settings.k === 3 ? a.tensors : b.tensors);
		}
		await writer;
		expect(reads).toBeGreaterThan(0);
	});

	test("a path that is a file is refused and stays", async () => {
		const path = join(folder, "a-file");
		await writeFile(path, "text");
		await expect(write(model, path)).rejects.toThrow("can't be written (ENOTDIR)");
		expect(await readFile(path, "utf8")).toBe("text");
	});
});

describe("reading a folder that numpy wrote", () => {
	test("gives the latents and reconstructions of SAELens' definition", async () => {
		const sae = await importer.read(FIXTURE);
		const expected = await Bun.file(join(FIXTURE, "expected.json")).json();
		expect(sae).toMatchObject({ architecture: "topk", d_in: 5, d_sae: 12, settings: { k: 3 } });
		expect(sae.metadata.hook_name).toBe("blocks.2.hook_resid_post");
		const codes = encodeTopK(sae, expected.x.flat(), expected.x.length, 3);
		const acts = new Float32Array(expected.x.length * 12);
		for (let row = 0; row < codes.rows; row++) {
			for (let entry = codes.offsets[row]!; entry < codes.offsets[row + 1]!; entry++) {
				acts[row * 12 + codes.index[entry]!] = codes.value[entry]!;
			}
		}
		expectClose(acts, expected.acts.flat());
		expectClose(decode(sae, codes), expected.out.flat());
	});

	test("and what we write of it still does", async () => {
		const path = join(folder, "refolded");
		await write(await importer.read(FIXTURE), path);
		expect(await importer.read(path)).toEqual(await importer.read(FIXTURE));
	});
});

describe("damaged folders", () => {
	const cfg = (change: (cfg: Record<string, unknown>) => void) => async (path: string) => {
		const content = await cfgOf(path);
		change(content);
		await writeFile(join(path, "cfg.json"), JSON.stringify(content));
	};
	const weights = (change: (tensors: Record<string, Tensor>) => void) => async (path: string) => {
		const tensors: Record<string, Tensor> = { ...(await importer.read(path)).tensors };
		change(tensors);
		const entries = Object.entries(tensors).map(([name, { shape, data }]) => {
			return { name, shape, dtype: "f32" as const, data: fromFloat32(data, "f32") };
		});
		await writeSafetensors(join(path, "sae_weights.safetensors"), entries);
	};

	test.each<[string, (path: string) => Promise<unknown>, string]>([
		["no cfg.json", (path) => rm(join(path, "cfg.json")), "has no cfg.json; its writing was interrupted"],
		[
			"no weights",
			(path) => rm(join(path, "sae_weights.safetensors")),
			"sae_weights.safetensors: there is no such file",
		],
		["text for cfg.json", (path) => writeFile(join(path, "cfg.json"), "{"), "cfg.json: is not a JSON object"],
		[
			"a list for cfg.json",
			(path) => writeFile(join(path, "cfg.json"), "[]"),
			"cfg.json: is not a JSON object",
		],
		[
			"no version",
			cfg((c) => Object.assign(c, { metadata: {} })),
			"sae_lens_version is missing, so this is the layout of SAELens 5",
		],
		[
			"an old version",
			cfg((c) => Object.assign(c, { metadata: { sae_lens_version: "5.10.7" } })),
			'is "5.10.7", so this is',
		],
		["no d_in", cfg((c) => delete c.d_in), "cfg.json: field d_in:"],
		["a d_sae of text", cfg((c) => Object.assign(c, { d_sae: "12" })), "cfg.json: field d_sae:"],
		["a huge d_sae", cfg((c) => Object.assign(c, { d_sae: 2 ** 40 })), "d_sae 1099511627776 make it"],
		["a fractional k", cfg((c) => Object.assign(c, { k: 1.5 })), "cfg.json: field k:"],
		["k beyond d_sae", cfg((c) => Object.assign(c, { k: 13 })), "cfg.json: field k:"],
		[
			"an unknown architecture",
			cfg((c) => Object.assign(c, { architecture: "temporal" })),
			'architecture "temporal" encodes a row by those before it',
		],
		[
			"a method's name for one",
			cfg((c) => Object.assign(c, { architecture: "toString" })),
			'architecture "toString" is not one',
		],
		["an unknown dtype", cfg((c) => Object.assign(c, { dtype: "int8" })), 'dtype "int8"'],
		[
			"an unknown normalisation",
			cfg((c) => Object.assign(c, { normalize_activations: "x" })),
			'normalize_activations "x"',
		],
		[
			"a missing tensor",
			weights((t) => delete t.b_enc),
			"tensor b_enc is missing, which the topk architecture needs",
		],
		[
			"a foreign tensor",
			weights((t) => Object.assign(t, { scaling_factor: t.b_enc })),
			"tensor scaling_factor is no part",
		],
		[
			"a transposed tensor",
			weights((t) => Object.assign(t, { W_enc: { ...t.W_enc!, shape: [12, 5] } })),
			"W_enc has the shape [12, 5], but",
		],
		["NaN", weights((t) => t.W_dec!.data.fill(Number.NaN, 3, 4)), "tensor W_dec holds NaN (value 3)"],
		[
			"cut-off weights",
			async (path) => {
				const file = join(path, "sae_weights.safetensors");
				await writeFile(file, (await readFile(file)).subarray(0, 300));
			},
			"sae_weights.safetensors: is not a sound safetensors file",
		],
	])("%s", async (name, damage, message) => {
		const path = join(folder, `damaged ${name}`);
		await cp(FIXTURE, path, { recursive: true });
		await damage(path);
		const error: Error = await importer.read(path).then(
			() => expect.unreachable(),
			(thrown) => thrown,
		);
		expect(error).toBeInstanceOf(core.SaeError);
		expect(error.message).toStartWith(path);
		expect(error.message).toContain(message);
		expect(error.message).not.toContain("\n");
	});

	test("other folders are not taken for ours", async () => {
		const path = join(folder, "other");
		await mkdir(path);
		expect(await importer.detect(path)).toBe(false);
		await writeFile(join(path, "cfg.json"), '{"num_latents": 3}');
		expect(await importer.detect(path)).toBe(false);
		expect(await importer.detect(join(folder, "nowhere"))).toBe(false);
	});
});

function scaled({ shape, data }: Tensor, factor: number): Tensor {
	return { shape, data: data.map((value) => value * factor) };
}

function expectClose(actual: ArrayLike<number>, expected: number[]): void {
	expect(actual.length).toBe(expected.length);
	for (const [i, value] of expected.entries()) expect(Math.abs(actual[i]! - value)).toBeLessThan(1e-5);
}

async function expectAbsent(path: string): Promise<void> {
	const name = path.slice(folder.length + 1);
	expect((await readdir(folder)).filter((entry) => entry.startsWith(name))).toEqual([]);
}

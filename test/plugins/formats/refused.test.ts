/** Files of other libraries that can't be read without guessing: each says what is wrong or missing. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SaeError } from "../../../core/errors.ts";
import { openTensorFile } from "../../../core/files/open.ts";
import { readFloat32, type TensorToWrite, writeSafetensors } from "../../../core/files/safetensors.ts";
import { writeTorch } from "../../../core/files/torch-write.ts";
import { loadSae } from "../../../core/load.ts";

const FIXTURES = join(import.meta.dir, "../../fixtures/formats");

let folder: string;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-refused-"));
});
afterAll(() => rm(folder, { recursive: true }));

type Arrays = Record<string, { shape: readonly number[]; data: Float32Array }>;

/** Changes the arrays of a file; what was no float32 becomes that. */
async function change(path: string, edit: (arrays: Arrays) => void): Promise<void> {
	const file = await openTensorFile(path);
	const arrays: Arrays = {};
	for (const [name, { shape }] of file.tensors) arrays[name] = { shape, data: await readFloat32(file, name) };
	await file.close();
	edit(arrays);
	const entries = Object.entries(arrays).map(([name, array]) => ({ name, dtype: "f32" as const, ...array }));
	if (path.endsWith(".pt")) await writeTorch(path, entries);
	else await writeSafetensors(path, entries satisfies TensorToWrite[], file.metadata);
}

/** Changes a JSON file. */
async function editJson(path: string, edit: (json: Record<string, object>) => void): Promise<void> {
	const json = await Bun.file(path).json();
	edit(json);
	await Bun.write(path, JSON.stringify(json));
}

const ae = (edit: (arrays: Arrays) => void) => (path: string) => change(join(path, "ae.pt"), edit);
const json = (file: string, changes: object) => (path: string) =>
	editJson(join(path, file), (content) => Object.assign(content, changes));

test.each<[string, string, (path: string) => Promise<unknown>, string]>([
	[
		"a threshold that was never measured",
		"dictionary-learning/batch-topk",
		ae((arrays) => arrays.threshold!.data.fill(-1)),
		"training stopped before it was measured",
	],
	[
		"an unknown class",
		"dictionary-learning/topk",
		(path) =>
			editJson(join(path, "config.json"), ({ trainer = {} }) =>
				Object.assign(trainer, { dict_class: "CrossCoder" }),
			),
		"names the class CrossCoder, which can't be read",
	],
	[
		"a tensor too many",
		"dictionary-learning/autoencoder",
		ae((arrays) => Object.assign(arrays, { scale: arrays.bias })),
		"tensor scale is no part of AutoEncoder",
	],
	[
		"a tensor too few",
		"dictionary-learning/gated",
		ae((arrays) => delete arrays.r_mag),
		"tensor r_mag is missing",
	],
	[
		"NaN",
		"dictionary-learning/topk",
		ae((arrays) => arrays.b_dec!.data.fill(Number.NaN, 2, 3)),
		"tensor b_dec holds NaN (value 2)",
	],
	[
		"a table of n-grams",
		"sparsify/topk",
		json("cfg.json", { gram_lookup: true }),
		"cfg.json: gram_lookup is true: it encodes what a table of n-grams, kept elsewhere, leaves of a row",
	],
	[
		"a skip from the embeddings",
		"sparsify/topk",
		json("cfg.json", { embed_skip: true }),
		"cfg.json: embed_skip is true: it reconstructs from the model's embeddings too",
	],
	[
		"groups of either sign",
		"sparsify/groupmax",
		json("cfg.json", { signed: true }),
		"codes of either sign (signed) can be run of plain topk SAEs alone",
	],
	[
		"a width that isn't the weights'",
		"sparsify/topk",
		json("cfg.json", { num_latents: 0 }),
		"encoder.weight has the shape [16, 6], where the others make it [192, 6]",
	],
	[
		"groups that don't divide",
		"sparsify/groupmax",
		json("cfg.json", { k: 3 }),
		"can't be cut into 3 equal groups",
	],
	[
		"a cross-layer transcoder",
		"gemma-scope/2",
		(path) =>
			change(join(path, "params.safetensors"), (arrays) =>
				Object.assign(arrays, { w_dec: { ...arrays.w_dec, shape: [16, 1, 6] } }),
			),
		"tensor w_dec has the shape [16, 1, 6], where a matrix is needed",
	],
	[
		"an unknown norm",
		"llama-scope/1",
		json("hyperparams.json", { norm_activation: "batch-wise" }),
		"field norm_activation",
	],
	[
		"an average that is missing",
		"llama-scope/1",
		(path) =>
			editJson(join(path, "hyperparams.json"), (content) => delete content.dataset_average_activation_norm),
		"dataset_average_activation_norm is missing",
	],
	[
		"another kind of dictionary",
		"llama-scope/llamascopium",
		json("config.json", { sae_type: "clt" }),
		"sae_type clt can't be read",
	],
	[
		"a gated encoder",
		"llama-scope/llamascopium",
		json("config.json", { use_glu_encoder: true }),
		"gate of its own",
	],
	[
		"codes of a whole batch",
		"llama-scope/llamascopium",
		json("config.json", { act_fn: "batchtopk" }),
		"turn it into jumprelu first",
	],
	[
		"targets scaled by their own norms",
		"llama-scope/llamascopium",
		json("config.json", { norm_activation: "token-wise" }),
		"only the targets tell",
	],
	[
		"rows of a transcoder brought to a common form",
		"saelens/6-transcoder",
		json("cfg.json", { normalize_activations: "layer_norm" }),
		"normalize_activations layer_norm",
	],
	[
		"an architecture that looks along the sequence",
		"saelens/6-standard",
		json("cfg.json", { architecture: "temporal" }),
		"temporal",
	],
	[
		"factors that a finetuned SAE would have",
		"saelens/5-finetuned",
		json("cfg.json", { finetuning_scaling_factor: false }),
		"does not say finetuning_scaling_factor: true",
	],
	[
		"activations of old",
		"saelens/5-standard",
		json("cfg.json", { activation_fn_str: "tanh-relu" }),
		"activation_fn tanh-relu can't be run",
	],
])("%s in %s", async (name, fixture, damage, message) => {
	const path = join(folder, name);
	await cp(join(FIXTURES, fixture), path, { recursive: true });
	await damage(path);
	const attempt = loadSae(path);
	await expect(attempt).rejects.toThrow(SaeError);
	await expect(attempt).rejects.toThrow(message);
	await expect(attempt).rejects.toThrow(path);
});

test("safetensors that don't say how the SAE encodes", async () => {
	const path = join(folder, "plain.safetensors");
	await cp(join(FIXTURES, "saelens/5-standard/sae_weights.safetensors"), path);
	await expect(loadSae(path)).rejects.toThrow("does not say how the SAE encodes");
});

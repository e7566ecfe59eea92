/** What is wrong with a model's folder is said in one line that names the file and the field. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Gpu, openGpu } from "../../../core/gpu/device.ts";
import { describeModel } from "../../../core/model/config.ts";
import { findModel, openTokenizer } from "../../../core/model/index.ts";
import { openTransformer } from "../../../core/model/open.ts";
import { CONFIGS, randomWeights, writeModel } from "../../reference/random-model.ts";

let gpu: Gpu;
let folder: string;
beforeAll(async () => {
	gpu = await openGpu();
	folder = await mkdtemp(join(tmpdir(), "sae-bad-models-"));
});
afterAll(async () => {
	gpu.close();
	await rm(folder, { recursive: true });
});

describe("config.json", () => {
	const { llama, gpt2, qwen2 } = CONFIGS;
	test.each<[string, object, string]>([
		["no model type", {}, "config.json: model_type is missing"],
		["a family that is not there", { model_type: "mamba" }, "model_type mamba can't be run; there are: gpt2"],
		["a name of every object", { model_type: "constructor" }, "model_type constructor can't be run"],
		["quantised weights", { ...llama, quantization_config: {} }, "config.json: quantization_config"],
		["a missing field", { ...llama, vocab_size: undefined }, "config.json: vocab_size: "],
		["far too many layers", { ...gpt2, n_layer: 1e9 }, "config.json: n_layer: "],
		["a wrong field", { ...llama, num_hidden_layers: "two" }, "config.json: num_hidden_layers: "],
		[
			"an activation",
			{ ...gpt2, activation_function: "xielu" },
			"activation_function: xielu can't be computed",
		],
		["heads that do not divide", { ...gpt2, n_head: 5 }, "config.json: n_embd: 18 can't be shared by 5"],
		[
			"heads that do not share",
			{ ...llama, num_key_value_heads: 3 },
			"num_attention_heads: 4 can't be shared by 3",
		],
		[
			"RoPE of another kind",
			{ ...llama, rope_scaling: { rope_type: "yarn" } },
			"rope_scaling.rope_type: yarn",
		],
		[
			"RoPE without its factor",
			{ ...llama, rope_scaling: { type: "linear" } },
			"rope_scaling.factor: is missing",
		],
		["layer types", { ...qwen2, layer_types: ["full_attention"] }, "layer_types: lists 1 layers of 2"],
		["cross-attention", { ...gpt2, add_cross_attention: true }, "add_cross_attention: cross-attention"],
	])("%s", (_, config, message) => {
		const complaint = () => describeModel(config, "config.json");
		expect(complaint).toThrow(message);
		expect(complaint).not.toThrow("\n");
	});
});

describe("weights", () => {
	const config = CONFIGS.llama;
	const open = async (name: string, change: (tensors: Record<string, unknown>) => void) => {
		const tensors = { ...randomWeights(config) };
		change(tensors);
		return openTransformer(await writeModel(join(folder, name), config, tensors), { gpu });
	};
	const q = "model.layers.1.self_attn.q_proj.weight";

	test("a missing tensor", () =>
		expect(
			open("missing", (tensors) => {
				delete tensors[q];
			}),
		).rejects.toThrow(`model.safetensors: has no tensor ${q}, which a llama model needs`));

	test("a wrong shape", () =>
		expect(
			open("shape", (tensors) => {
				tensors[q] = { shape: [20, 24], data: new Float32Array(480) };
			}),
		).rejects.toThrow(`model.safetensors: ${q} has the shape [20, 24], config.json says [24, 20]`));

	test("a file that is cut off", async () => {
		const path = await writeModel(join(folder, "cut"), config, randomWeights(config));
		await truncate(join(path, "model.safetensors"), 9000);
		await expect(openTransformer(path, { gpu })).rejects.toThrow("it is cut off or damaged");
	});

	test("none at all", async () => {
		const path = await writeModel(join(folder, "none"), config, randomWeights(config));
		await rm(join(path, "model.safetensors"));
		await Bun.write(join(path, "pytorch_model.bin"), "");
		await expect(openTransformer(path, { gpu })).rejects.toThrow("; save pytorch_model.bin as safetensors");
	});

	test("names without the head's prefix are found", async () => {
		const tensors = Object.entries(randomWeights(config)).map(([name, tensor]) => [
			name.replace(/^model\./, ""),
			tensor,
		]);
		const path = await writeModel(join(folder, "bare"), config, Object.fromEntries(tensors));
		(await openTransformer(path, { gpu })).close();
	});

	test("batches that the model can't take", async () => {
		const model = await open("batches", () => {});
		const run = (tokens: number[], length = tokens.length) =>
			model.run({ tokens: Uint32Array.from(tokens), sequences: [{ length }] }, new Map());
		await expect(run([3, 37])).rejects.toThrow("token id 37: the model has the ids 0 to 36");
		await expect(run(Array(65).fill(1))).rejects.toThrow(
			"a sequence of 65 tokens: 64 positions are possible",
		);
		await expect(run([1, 2], 3)).rejects.toThrow("the sequences have 3 tokens, but 2 were given");
		model.close();
	});
});

describe("tokenizers", () => {
	const write = (content: string) => Bun.write(join(folder, "tokenizer.json"), content);

	test("none", () =>
		expect(openTokenizer(join(folder, "nowhere"))).rejects.toThrow("tokenizer.json: there is no such file"));

	test.each([
		["no JSON", "{", "tokenizer.json: is not sound JSON"],
		["no tokenizer", "{}", "tokenizer.json: this tokenizer can't be used"],
		[
			"a kind that is not there",
			`{"model": {"type": "Abacus"}}`,
			"tokenizer.json: this tokenizer can't be used",
		],
	])("%s", async (_, content, message) => {
		await write(content);
		await expect(openTokenizer(folder)).rejects.toThrow(message);
	});
});

describe("where models come from", () => {
	const log = { info() {}, progress() {} };

	test("folders that are not there, and files", async () => {
		await expect(findModel("./nowhere", log)).rejects.toThrow(/^.\/nowhere: there is no such folder$/);
		await expect(findModel(import.meta.path, log)).rejects.toThrow("is a file; give the model's folder");
	});

	test("a Hub that can't be reached", async () => {
		const { HF_ENDPOINT, HF_HUB_CACHE } = process.env;
		// Nothing listens there.
		Object.assign(process.env, { HF_ENDPOINT: "http://127.0.0.1:9", HF_HUB_CACHE: join(folder, "hub") });
		try {
			await expect(findModel("someone/some-model", log)).rejects.toThrow(
				"someone/some-model: there is no such folder, and the Hugging Face Hub can't be reached (",
			);
		} finally {
			restore("HF_ENDPOINT", HF_ENDPOINT);
			restore("HF_HUB_CACHE", HF_HUB_CACHE);
		}
	});

	test("what the cache has is not asked for", async () => {
		const { HF_HUB_CACHE } = process.env;
		const hub = join(folder, "filled");
		process.env.HF_HUB_CACHE = hub;
		try {
			const snapshot = join(hub, "models--someone--tiny", "snapshots", "c0ffee");
			await writeModel(snapshot, CONFIGS.gpt2, randomWeights(CONFIGS.gpt2));
			await Bun.write(join(hub, "models--someone--tiny", "refs", "main"), "c0ffee");
			expect(await findModel("someone/tiny", log)).toBe(snapshot);
		} finally {
			restore("HF_HUB_CACHE", HF_HUB_CACHE);
		}
	});
});

function restore(name: string, value: string | undefined): void {
	if (value === undefined) delete process.env[name];
	else process.env[name] = value;
}

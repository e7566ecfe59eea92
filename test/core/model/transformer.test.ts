/** Every family's forward pass on the device against the float64 reference, at every hook point. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { toUint32 } from "../../../core/files/dtype.ts";
import { openSafetensors, readFloat32 } from "../../../core/files/safetensors.ts";
import { type Gpu, openGpu } from "../../../core/gpu/device.ts";
import { describeModel } from "../../../core/model/config.ts";
import {
	findHookPoint,
	type HookValue,
	hookPoints,
	NO_TARGET,
	readModelSpec,
	type TokenBatch,
} from "../../../core/model/index.ts";
import { type OpenTransformerOptions, openTransformer } from "../../../core/model/open.ts";
import type { Transformer } from "../../../core/model/transformer.ts";
import { Gpu as Device } from "../../../kernels/gpu.ts";
import type { HalfProduct } from "../../../kernels/tensor-product.ts";
import { PLAIN_HALF_PRODUCT } from "../../kernels/half-product.ts";
import { CONFIGS, randomWeights, writeModel } from "../../reference/random-model.ts";
import { referencePass, type Tensors } from "../../reference/transformer.ts";

let gpu: Gpu;
let folder: string;
beforeAll(async () => {
	gpu = await openGpu();
	folder = await mkdtemp(join(tmpdir(), "sae-models-"));
});
afterAll(async () => {
	gpu.close();
	await rm(folder, { recursive: true });
});

/** Two sequences of lengths that no tile divides. */
const SEQUENCES = [13, 21].map((length, s) =>
	Array.from({ length }, (_, i) => (i * 7 + s * 3 + ((i * i) % 5)) % 37),
);
const BATCH = {
	tokens: Uint32Array.from(SEQUENCES.flat()),
	sequences: SEQUENCES.map(({ length }) => ({ length })),
};

/** Values of all these hook points and, at the end, the logits. */
async function everything(model: Transformer, batch: TokenBatch): Promise<Map<string, Float32Array>> {
	const reads = new Map<string, Promise<Float32Array>>();
	let final: HookValue | undefined;
	const hooks = new Map(
		model.points.map(({ name }) => [
			name,
			(value: HookValue) => {
				reads.set(name, model.read(value));
				if (name === "ln_final.out") final = value;
			},
		]),
	);
	await model.run(batch, hooks);
	const values = new Map<string, Float32Array>();
	for (const [name, read] of reads) values.set(name, await read);
	const logits = new Float32Array(batch.tokens.length * model.spec.vocab);
	await model.head!.eachLogits(final!, async ({ buffer, firstRow, rows, vocab, stride }) => {
		const all = new Float32Array(await gpu.read(buffer, 0, rows * stride * 4));
		for (let row = 0; row < rows; row++) {
			logits.set(all.subarray(row * stride, row * stride + vocab), (firstRow + row) * vocab);
		}
	});
	return values.set("logits", logits);
}

async function valueAt(model: Transformer, batch: TokenBatch, point: string): Promise<Float32Array> {
	const reads: Promise<Float32Array>[] = [];
	await model.run(batch, new Map([[point, (value) => void reads.push(model.read(value))]]));
	return reads[0]!;
}

/** The root mean square difference, relative to that of the values. */
function difference(found: ArrayLike<number>, wanted: ArrayLike<number>): number {
	expect(found.length).toBe(wanted.length);
	let [error, size] = [0, 0];
	for (let i = 0; i < wanted.length; i++) {
		error += (found[i]! - wanted[i]!) ** 2;
		size += wanted[i]! ** 2;
	}
	return Math.sqrt(error / size);
}

function reference(config: object, tensors: Tensors): Map<string, number[]> {
	const spec = describeModel(config, "config.json");
	const passes = SEQUENCES.map((tokens) => referencePass(spec, tensors, tokens));
	return new Map(
		[...passes[0]!.keys()].map((name) => [name, passes.flatMap((pass) => pass.get(name)!.flat())]),
	);
}

describe("agrees with the reference at every hook point", () => {
	test.each(Object.keys(CONFIGS) as (keyof typeof CONFIGS)[])("%s", async (name) => {
		const config = CONFIGS[name];
		const tensors = randomWeights(config);
		const model = await openTransformer(await writeModel(join(folder, name), config, tensors), { gpu });
		const found = await everything(model, BATCH);
		const wanted = reference(config, tensors);
		// TransformerLens calls two points of a norm by one name; the reference has what the module gives.
		const points = [...found.keys()].filter((point) => wanted.has(point));
		expect(points.length).toBeGreaterThanOrEqual(2 * 15 + 2);
		for (const point of points) {
			expect(difference(found.get(point)!, wanted.get(point)!), point).toBeLessThan(3e-6);
		}
		// Where nobody looks in between, kernels may be joined.
		const last = "blocks.1.hook_resid_post";
		expect(difference(await valueAt(model, BATCH, last), wanted.get(last)!)).toBeLessThan(3e-6);
		model.close();
	});

	test.each(["f16", "bf16"] as const)("weights of 16 bits, %s, in shards", async (dtype) => {
		const config = {
			...CONFIGS.llama,
			vocab_size: 300,
			hidden_size: 130,
			intermediate_size: 200,
			tie_word_embeddings: true,
		};
		const tensors = randomWeights(config, dtype);
		const path = await writeModel(join(folder, dtype), config, tensors, dtype);
		// Room for 192 rows of 256 numbers in a binding, so that matrices of 300 and 200 rows are cut.
		const narrow = new Device({ device: gpu.device, info: gpu.info, keepAlive: [gpu] }, 192 * 256 * 4);
		const model = await openTransformer(path, { gpu: narrow, rows: 34, context: 32 });
		const found = await everything(model, BATCH);
		for (const [point, values] of reference(config, tensors)) {
			expect(difference(found.get(point)!, values), point).toBeLessThan(3e-6);
		}
		model.close();
	});
});

/** Tensor cores, where there are any, and what does the same without them. */
describe("with products of float16", () => {
	const products = () => [PLAIN_HALF_PRODUCT, ...(gpu.halfProduct ? [gpu.halfProduct] : [])];
	const open = (
		path: string,
		halfProduct: HalfProduct,
		options: OpenTransformerOptions,
		maxBinding?: number,
	) => {
		const device = { device: gpu.device, info: gpu.info, keepAlive: [gpu], halfProduct };
		return openTransformer(path, { ...options, gpu: new Device(device, maxBinding) });
	};

	test("operands in two parts are as good as float32, weights of 16 bits in one and in shards too", async () => {
		const cases = [
			[CONFIGS.gpt2, undefined, undefined],
			[{ ...CONFIGS.llama, vocab_size: 300, hidden_size: 130 }, "bf16", 192 * 256 * 4],
		] as const;
		for (const [config, dtype, maxBinding] of cases) {
			const tensors = randomWeights(config, dtype);
			const path = await writeModel(join(folder, `halves-${config.model_type}`), config, tensors, dtype);
			for (const product of products()) {
				const model = await open(path, product, { rows: 34, context: 32 }, maxBinding);
				const found = await everything(model, BATCH);
				const wanted = reference(config, tensors);
				for (const [point, values] of found) {
					if (!wanted.has(point)) continue;
					expect(difference(values, wanted.get(point)!), point).toBeLessThan(3e-6);
				}
				// Where nobody looks in between, kernels are joined.
				const last = "blocks.1.hook_resid_post";
				const joined = await valueAt(model, BATCH, last);
				expect(difference(joined, wanted.get(last)!)).toBeLessThan(3e-6);
				model.close();
			}
		}
	});

	test("rounded once, when asked for, they are not", async () => {
		const tensors = randomWeights(CONFIGS.gpt2);
		const path = await writeModel(join(folder, "half"), CONFIGS.gpt2, tensors);
		const wanted = reference(CONFIGS.gpt2, tensors).get("blocks.1.hook_resid_post")!;
		for (const product of products()) {
			const model = await open(path, product, { precision: "half", head: false });
			const found = await valueAt(model, BATCH, "blocks.1.hook_resid_post");
			expect(difference(found, wanted)).toBeWithin(1e-5, 1e-3);
			model.close();
		}
	});
});

test("goes only as far as it must, with only the layers that it needs", async () => {
	const tensors = randomWeights(CONFIGS.gpt2);
	const path = await writeModel(join(folder, "short"), CONFIGS.gpt2, tensors);
	const model = await openTransformer(path, { gpu, layers: 1, head: false });
	const found = await valueAt(model, BATCH, "blocks.0.hook_resid_post");
	expect(difference(found, reference(CONFIGS.gpt2, tensors).get("blocks.0.hook_resid_post")!)).toBeLessThan(
		3e-6,
	);
	await expect(model.run(BATCH, new Map([["blocks.1.hook_resid_post", () => {}]]))).rejects.toThrow(
		"was opened without what it needs",
	);
	model.close();
});

test("what replaces a hook point's value is what comes later sees, and losses follow", async () => {
	const config = CONFIGS.gpt2;
	const tensors = randomWeights(config);
	const model = await openTransformer(await writeModel(join(folder, "splice"), config, tensors), { gpu });
	const targets = BATCH.tokens.map((_, i) => BATCH.tokens[i + 1] ?? NO_TARGET);
	targets[12] = NO_TARGET;
	const losses = async (replace: boolean) => {
		const finals: HookValue[] = [];
		const hooks = new Map<string, (value: HookValue) => void>([
			["ln_final.out", (value) => finals.push(value)],
		]);
		if (replace) {
			hooks.set("blocks.1.hook_resid_post", ({ buffer, rows, stride }) =>
				gpu.write(buffer, new Float32Array(rows * stride)),
			);
		}
		await model.run(BATCH, hooks);
		return model.head!.losses(finals[0]!, targets);
	};
	const logits = reference(config, tensors).get("logits")!;
	const wanted = [...targets].map((target, row) => {
		const own = logits.slice(row * 37, (row + 1) * 37);
		return target === NO_TARGET ? 0 : Math.log(own.reduce((sum, x) => sum + Math.exp(x), 0)) - own[target]!;
	});
	expect(difference(await losses(false), wanted)).toBeLessThan(1e-5);
	// With the residual stream gone, the final norm gives its bias, and every row the same distribution.
	const bias = tensors["transformer.ln_f.bias"]!.data;
	const flat = Array.from({ length: 37 }, (_, token) => {
		const row = tensors["transformer.wte.weight"]!.data.subarray(token * 18, (token + 1) * 18);
		return row.reduce((sum, value, i) => sum + value * bias[i]!, 0);
	});
	const norm = Math.log(flat.reduce((sum, x) => sum + Math.exp(x), 0));
	const spliced = [...targets].map((target) => (target === NO_TARGET ? 0 : norm - flat[target]!));
	expect(difference(await losses(true), spliced)).toBeLessThan(1e-5);
	// The array belongs to the pass: the next one is as if nothing had been.
	expect(difference(await losses(false), wanted)).toBeLessThan(1e-5);
	model.close();
});

test("with a cache, a sequence can come in pieces", async () => {
	const config = CONFIGS.gemma2;
	const tensors = randomWeights(config);
	const path = await writeModel(join(folder, "cache"), config, tensors);
	const model = await openTransformer(path, { gpu, slots: 2, context: 24 });
	const point = "blocks.1.hook_resid_post";
	const pieces: Float32Array[][] = [[], []];
	for (const [from, to] of [
		[0, 9],
		[9, 10],
		[10, 13],
	] as const) {
		// The second sequence first: its place is its slot, not its order.
		const tokens = Uint32Array.from([1, 0].flatMap((s) => SEQUENCES[s]!.slice(from, to)));
		const sequences = [1, 0].map((slot) => ({ length: to - from, slot, past: from }));
		const values = await valueAt(model, { tokens, sequences }, point);
		pieces[1]!.push(values.slice(0, values.length / 2));
		pieces[0]!.push(values.slice(values.length / 2));
	}
	const spec = describeModel(config, "config.json");
	for (const [s, parts] of pieces.entries()) {
		const wanted = referencePass(spec, tensors, SEQUENCES[s]!.slice(0, 13)).get(point)!.flat();
		expect(
			difference(
				parts.flatMap((part) => [...part]),
				wanted,
			),
		).toBeLessThan(3e-6);
	}
	model.close();
});

const ids = async (path: string, name: string) => {
	const file = await openSafetensors(path);
	const { shape, dtype } = file.tensors.get(name)!;
	const count = shape.reduce((product, size) => product * size, 1);
	const values = toUint32(await file.readElements(name, 0, count), dtype as "i32", name);
	return { file, values, shape };
};

const DEMO = join(import.meta.dir, "../../../demo/data");

test("the demo's model agrees with transformers", async () => {
	const { file, values: tokens } = await ids(join(DEMO, "parity.safetensors"), "input_ids");
	const model = await openTransformer(join(DEMO, "model"), { gpu });
	const found = await everything(model, { tokens, sequences: [{ length: tokens.length }] });
	const names = [...file.tensors.keys()].filter((name) => name !== "input_ids");
	expect(names.length).toBeGreaterThan(4);
	for (const name of names) {
		const values = found.get(name === "ln_final" ? "ln_final.out" : name)!;
		expect(difference(values, await readFloat32(file, name)), name).toBeLessThan(1e-5);
	}
	model.close();
});

const MODELS = join(import.meta.dir, "../../fixtures/models");
const DATA = join(import.meta.dir, "../../../../shared/data");

/** Models that transformers ran, with modules' outputs; those of the development data where these are. */
const FIXTURES = [
	...["gpt2", "gpt_neox", "llama", "qwen2", "gemma2"].map((name) => [join(MODELS, name), "parity"]),
	...(existsSync(DATA)
		? [
				[join(DATA, "tiny-lm"), "parity"],
				[join(DATA, "tiny-lm"), "parity-inner"],
				[join(DATA, "families/gpt_neox"), "parity"],
				[join(DATA, "families/llama"), "parity"],
			]
		: []),
] as [string, string][];

for (const [path, parity] of FIXTURES) {
	test(`${relative(import.meta.dir, path)} agrees with transformers, ${parity}`, async () => {
		const { file, values: tokens, shape } = await ids(join(path, `${parity}.safetensors`), "input_ids");
		const spec = await readModelSpec(path);
		const model = await openTransformer(path, { gpu });
		const batch = { tokens, sequences: Array.from({ length: shape[0]! }, () => ({ length: shape[1]! })) };
		const found = await everything(model, batch);
		model.close();
		// The float64 reference must agree too, or agreeing with it would say nothing.
		const checked = path.endsWith("tiny-lm") ? undefined : await referenceOf(path, spec, batch);
		for (const stored of file.tensors.keys()) {
			if (stored === "input_ids") continue;
			const point = pointOf(spec, stored);
			const wanted = await readFloat32(file, stored);
			expect(difference(found.get(point)!, wanted), stored).toBeLessThan(1e-5);
			if (checked) expect(difference(checked(point), wanted), stored).toBeLessThan(2e-6);
		}
	});
}

function pointOf(spec: Awaited<ReturnType<typeof readModelSpec>>, stored: string): string {
	if (stored === "logits") return stored;
	const hidden = /^hidden_states\.(\d+)$/.exec(stored)?.[1];
	if (hidden === undefined) return findHookPoint(spec, stored.replace(/^output\./, "")).name;
	return Number(hidden) < spec.layers.length ? `blocks.${hidden}.hook_resid_pre` : "ln_final.out";
}

async function referenceOf(path: string, spec: Awaited<ReturnType<typeof readModelSpec>>, batch: TokenBatch) {
	const file = await openSafetensors(join(path, "model.safetensors"));
	const tensors: Record<string, Tensors[string]> = {};
	for (const { name: tensor, shape } of file.tensors.values()) {
		tensors[tensor] = { shape, data: await readFloat32(file, tensor) };
	}
	const length = batch.sequences[0]!.length;
	const passes = batch.sequences.map((_, s) =>
		referencePass(spec, tensors, [...batch.tokens.subarray(s * length, (s + 1) * length)]),
	);
	return (point: string) => passes.flatMap((pass) => pass.get(point)!.flat());
}

test("hook points have the names of both worlds", () => {
	const spec = describeModel(CONFIGS.gemma2, "config.json");
	const name = (given: string) => findHookPoint(spec, given).name;
	expect(name("blocks.1.hook_mlp_out")).toBe("blocks.1.hook_mlp_out");
	expect(name("model.layers.1")).toBe("blocks.1.hook_resid_post");
	expect(name("model.layers.0.self_attn")).toBe("blocks.0.attn.out");
	expect(name("model.layers.0.post_attention_layernorm")).toBe("blocks.0.hook_attn_out");
	expect(name("model.norm")).toBe("ln_final.out");
	expect(name("layers.0.self_attn")).toBe("blocks.0.attn.out");
	expect(() => name("blocks.2.hook_mlp_out")).toThrow("the model has the layers 0 to 1");
	expect(() => name("model.layers.7.mlp")).toThrow("the model has the layers 0 to 1");
	expect(() => name("blocks.0.hook_pattern")).toThrow("this model has none of that name");
	const parallel = hookPoints(describeModel(CONFIGS.gpt_neox, "config.json"));
	expect(parallel.some((point) => point.name.endsWith("hook_resid_mid"))).toBe(false);
});

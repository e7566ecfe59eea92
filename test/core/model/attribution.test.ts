/** Attributions against the float64 reference: logits of directions, and the identity that attention's parts obey. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Gpu, openGpu } from "../../../core/gpu/device.ts";
import {
	attentionDirections,
	attributeAttention,
	readAttention,
} from "../../../core/model/attention-attribution.ts";
import { describeModel } from "../../../core/model/config.ts";
import { findHookPoint } from "../../../core/model/hooks.ts";
import { extremeTokens, openLogitAttribution } from "../../../core/model/logit-attribution.ts";
import { openTransformer } from "../../../core/model/open.ts";
import { randomStream, randomTensor, randomTopK } from "../../reference/models.ts";
import { CONFIGS, randomWeights, writeModel } from "../../reference/random-model.ts";
import { referencePass } from "../../reference/transformer.ts";

let gpu: Gpu;
let folder: string;
beforeAll(async () => {
	gpu = await openGpu();
	folder = await mkdtemp(join(tmpdir(), "sae-attribution-"));
});
afterAll(async () => {
	gpu.close();
	await rm(folder, { recursive: true });
});

const TOKENS = Array.from({ length: 14 }, (_, i) => (i * 5 + (i % 3)) % 37);
type Name = keyof typeof CONFIGS;

async function prepared(name: Name, bias = true) {
	const config = CONFIGS[name];
	const tensors = randomWeights(config);
	// Without biases, what is left of a linear map is the map.
	if (!bias)
		for (const [tensor, { data }] of Object.entries(tensors)) if (tensor.endsWith(".bias")) data.fill(0);
	const path = await writeModel(join(folder, `${name}${bias}`), config, tensors);
	return { path, tensors, spec: describeModel(config, "config.json") };
}

describe("logits of a direction are how they change, but for the norm's scale", () => {
	test.each([
		["gpt2", "blocks.1.hook_resid_post", 18],
		["gpt2", "blocks.1.mlp.hook_post", 72],
		["llama", "blocks.1.attn.hook_z", 24],
		["gemma2", "blocks.0.hook_attn_out", 20],
	] as const)("%s, %s", async (name, hook, width) => {
		const { path, tensors, spec } = await prepared(name, false);
		const point = findHookPoint(spec, hook);
		const directions = randomTensor([3, width], randomStream(5)).data;
		const attribution = await openLogitAttribution(gpu, path, spec, point);
		const found: Float32Array[] = [];
		await attribution.each(directions, (logits, _, count) => {
			for (let row = 0; row < count; row++) found.push(logits.slice(row * 37, (row + 1) * 37));
		});
		attribution.close();
		expect(found).toHaveLength(3);
		// With nothing but the direction in the residual stream, the logits are the attribution over the norm's scale.
		const alone = { ...spec, logitCap: 0 };
		for (const [row, logits] of found.entries()) {
			const direction = [...directions.subarray(row * width, (row + 1) * width)];
			const part = hook.replace(/^blocks\.\d\./, "");
			const resid = new Map<string, number[][]>();
			const pass = referencePass(alone, tensors, [0], (at, rows) => {
				if (at === hook) return [direction];
				if (part === "attn.hook_z" && at === "blocks.1.hook_attn_out") resid.set("now", rows);
				if (part === "mlp.hook_post" && at === "blocks.1.hook_mlp_out") resid.set("now", rows);
				if (part.startsWith("hook_")) resid.set("now", [direction]);
				return at === "blocks.1.hook_resid_post" ? resid.get("now")! : rows;
			});
			const wanted = pass.get("logits")![0]!;
			const ratio =
				logits.reduce((sum, x, i) => sum + x * wanted[i]!, 0) / wanted.reduce((sum, x) => sum + x * x, 0);
			expect(ratio).toBeGreaterThan(0);
			for (const [token, logit] of wanted.entries()) {
				expect(Math.abs(logits[token]! - ratio * logit), `token ${token}`).toBeLessThan(1e-3 * ratio);
			}
		}
	});

	test("where nothing leads straight to them, that is said", async () => {
		const { path, spec } = await prepared("gpt2");
		const point = findHookPoint(spec, "blocks.0.attn.hook_q");
		await expect(openLogitAttribution(gpu, path, spec, point)).rejects.toThrow(
			"nothing leads from there straight to the logits",
		);
	});
});

test("the extreme tokens, of equal ones the lower first", () => {
	const logits = Float32Array.of(1, 5, -2, 5, 0, -2);
	expect(extremeTokens(logits, 3, 1).map(({ token }) => token)).toEqual([1, 3, 0]);
	expect(extremeTokens(logits, 3, -1).map(({ token }) => token)).toEqual([2, 5, 4]);
	expect(extremeTokens(logits, 9, 1)).toHaveLength(6);
});

describe("attention's parts add up to the pre-activation, but for biases", () => {
	test.each([
		["gpt2", "blocks.1.attn.hook_z"],
		["gpt2", "blocks.1.hook_attn_out"],
		["gpt_neox", "blocks.0.hook_attn_out"],
		["llama", "blocks.1.attn.hook_z"],
		["qwen2", "blocks.1.attn.hook_z"],
		["gemma2", "blocks.0.attn.out"],
	] as const)("%s, %s", async (name, hook) => {
		const { path, tensors, spec } = await prepared(name);
		const point = findHookPoint(spec, hook);
		const sae = randomTopK(point.width, 30, 3, 6);
		const [direction] = await attentionDirections(path, spec, point, sae, [11]);
		const layer = point.layer!;
		const model = await openTransformer(path, { gpu, layers: layer + 1, head: false });
		const batch = { tokens: Uint32Array.from(TOKENS), sequences: [{ length: TOKENS.length }] };
		const rows = await readAttention(model, batch, layer);
		model.close();
		const values = referencePass(spec, tensors, TOKENS).get(hook)!;
		const o = spec.layers[layer]!.o;
		const bias = hook.endsWith("hook_z") || !o.bias ? undefined : tensors[o.bias]!.data;
		const column = Float64Array.from(
			{ length: point.width },
			(_, i) => sae.tensors.W_enc!.data[i * 30 + 11]!,
		);
		for (const row of [0, 5, 13]) {
			const parts = attributeAttention(spec, layer, rows, direction!, row);
			expect(parts).toHaveLength((row + 1) * spec.heads);
			const wanted = values[row]!.reduce((sum, value, i) => sum + (value - (bias?.[i] ?? 0)) * column[i]!, 0);
			const sum = parts.reduce((all, part) => all + part, 0);
			expect(Math.abs(sum - wanted)).toBeLessThan(2e-5 * (1 + Math.abs(wanted)));
			const { window } = spec.layers[layer]!;
			if (window > 0 && row >= window)
				expect(parts.subarray(0, spec.heads).every((part) => part === 0)).toBe(true);
		}
		// By head: z's own part in the direction.
		if (!hook.endsWith("hook_z")) return;
		const parts = attributeAttention(spec, layer, rows, direction!, 13);
		for (let head = 0; head < spec.heads; head++) {
			let sum = 0;
			for (let source = 0; source <= 13; source++) sum += parts[source * spec.heads + head]!;
			const slice = values[13]!.slice(head * spec.d_head, (head + 1) * spec.d_head);
			const wanted = slice.reduce((all, value, i) => all + value * column[head * spec.d_head + i]!, 0);
			expect(Math.abs(sum - wanted)).toBeLessThan(2e-5 * (1 + Math.abs(wanted)));
		}
	});

	test("and are not given where a norm comes between", async () => {
		const { path, spec } = await prepared("gemma2");
		const point = findHookPoint(spec, "blocks.0.hook_attn_out");
		await expect(attentionDirections(path, spec, point, randomTopK(20, 30, 3), [0])).rejects.toThrow(
			"hook_attn_out where no norm follows it",
		);
	});
});

/** SAEs inside a model's pass, against the float64 reference of both. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Gpu, openGpu } from "../../../core/gpu/device.ts";
import { describeModel } from "../../../core/model/config.ts";
import { editCodes, type GivenEdit, parseEdit } from "../../../core/model/edits.ts";
import { compareLosses, type PassLosses, packPasses } from "../../../core/model/losses.ts";
import { openTransformer } from "../../../core/model/open.ts";
import { checkApart, placeSae, spliceHooks } from "../../../core/model/splice.ts";
import { openSae } from "../../../core/open-sae.ts";
import type { SaeModel } from "../../../core/sae.ts";
import { crossEntropies, divergences } from "../../reference/losses.ts";
import { randomTopK, withSkip } from "../../reference/models.ts";
import { CONFIGS, randomWeights, writeModel } from "../../reference/random-model.ts";
import { decode, encodeTopK } from "../../reference/topk.ts";
import { referencePass } from "../../reference/transformer.ts";

let gpu: Gpu;
let folder: string;
beforeAll(async () => {
	gpu = await openGpu();
	folder = await mkdtemp(join(tmpdir(), "sae-splice-"));
});
afterAll(async () => {
	gpu.close();
	await rm(folder, { recursive: true });
});

const SEQUENCES = [11, 16].map((length, s) =>
	Array.from({ length }, (_, i) => (i * 5 + s * 11 + (i % 3)) % 37),
);

async function* contexts() {
	for (const tokens of SEQUENCES) {
		yield { tokens: Uint32Array.from(tokens), documents: new Uint32Array(tokens.length) };
	}
}

/** An SAE, where it is, and what is done to its latents. */
interface Case {
	readonly sae: SaeModel;
	readonly hook: string;
	readonly edits: readonly GivenEdit[];
}

const cases = (d_model: number, d_z: number): Case[] => [
	{
		sae: randomTopK(d_model, 48, 5, 2),
		hook: "blocks.0.hook_resid_post",
		edits: [parseEdit("ablate", "7"), parseEdit("clamp", "9=1.5@2-6"), parseEdit("add", "11=-0.5@4,12-")],
	},
	{ sae: randomTopK(d_z, 40, 4, 3), hook: "blocks.1.attn.hook_z", edits: [parseEdit("scale", "3=-2")] },
	{
		sae: withSkip(randomTopK(d_model, 32, 4, 4), d_model),
		hook: "blocks.1.ln2.out:blocks.1.hook_mlp_out",
		edits: [],
	},
];

/** The reference's losses and divergences, all sequences behind each other; 0 after the last token. */
function expected(name: keyof typeof CONFIGS, all: readonly Case[], keepError: boolean) {
	const spec = describeModel(CONFIGS[name], "config.json");
	const tensors = randomWeights(CONFIGS[name]);
	return SEQUENCES.map((tokens) => {
		const positions = [...tokens.keys()];
		const reconstructions = new Map<string, number[][]>();
		const change = (point: string, rows: number[][]): number[][] => {
			for (const { sae, hook, edits } of all) {
				const [from, to = from] = hook.split(":");
				if (point !== from) continue;
				const x = rows.flat();
				const codes = encodeTopK(sae, x, rows.length, Number(sae.settings.k));
				const changed = decode(sae, editCodes(codes, edits, positions), x);
				const plain = decode(sae, codes, x);
				const width = sae.d_out ?? sae.d_in;
				const rowOf = (of: Float64Array, i: number) => [...of.subarray(i * width, (i + 1) * width)];
				reconstructions.set(
					to!,
					rows.map((_, i) => rowOf(keepError ? changed.map((value, j) => value - plain[j]!) : changed, i)),
				);
			}
			const found = reconstructions.get(point);
			if (!found) return rows;
			return keepError ? rows.map((row, i) => row.map((value, j) => value + found[i]![j]!)) : found;
		};
		const logits = (of: Map<string, number[][]>) => of.get("logits")!;
		const clean = logits(referencePass(spec, tensors, tokens));
		const changed = logits(referencePass(spec, tensors, tokens, change));
		return {
			clean: [...crossEntropies(clean, tokens), 0],
			losses: [...crossEntropies(changed, tokens), 0],
			divergences: divergences(clean, changed),
		};
	});
}

async function found(
	name: keyof typeof CONFIGS,
	all: readonly Case[],
	keepError: boolean,
): Promise<PassLosses> {
	const path = await writeModel(join(folder, name), CONFIGS[name], randomWeights(CONFIGS[name]));
	const model = await openTransformer(path, { gpu });
	const saes = await Promise.all(
		all.map(async ({ sae, hook }) => ({
			...placeSae(model.spec, sae, hook),
			model: sae,
			runtime: await openSae(sae, { gpu }),
		})),
	);
	const [first, ...others] = await Array.fromAsync(
		compareLosses(model, packPasses(contexts(), model.rows), [
			({ positions }) =>
				spliceHooks(
					model,
					saes.map((sae, i) => ({
						sae,
						options: { keepError, edit: (codes) => editCodes(codes, all[i]!.edits, positions) },
					})),
				),
		]),
	);
	expect(others).toEqual([]);
	for (const { runtime } of saes) runtime.close();
	model.close();
	return first!;
}

function expectClose(actual: Float32Array, wanted: readonly number[]): void {
	expect(actual.length).toBe(wanted.length);
	for (const [row, value] of wanted.entries()) {
		expect(Math.abs(actual[row]! - value), `row ${row}`).toBeLessThan(2e-4 * (1 + Math.abs(value)));
	}
}

describe("several SAEs at several hooks, with latents changed, cost what the reference says", () => {
	test.each([
		["gpt2", 18, 18, false],
		["gpt2", 18, 18, true],
		["gemma2", 20, 24, true],
	] as const)("%s, d_model %d, z %d, error kept: %p", async (name, d_model, d_z, keepError) => {
		const all = cases(d_model, d_z);
		const { clean, changed } = await found(name, all, keepError);
		const wanted = expected(name, all, keepError);
		expectClose(
			clean,
			wanted.flatMap((sequence) => sequence.clean),
		);
		expectClose(
			changed[0]!.losses,
			wanted.flatMap(({ losses }) => losses),
		);
		expectClose(
			changed[0]!.divergences,
			wanted.flatMap((sequence) => sequence.divergences),
		);
		expect(Math.max(...changed[0]!.divergences)).toBeGreaterThan(0.01);
	});
});

test("with the error kept and no edit, nothing changes", async () => {
	const all = cases(18, 18).map((one) => ({ ...one, edits: [] }));
	const { clean, changed } = await found("gpt2", all, true);
	expect(changed[0]!.losses).toEqual(clean);
	expect(Math.max(...changed[0]!.divergences)).toBeLessThan(1e-6);
});

describe("an SAE's place", () => {
	const spec = describeModel(CONFIGS.gpt2, "config.json");
	const shape = { d_in: 18, metadata: {} };
	const names = ({ reads, writes }: ReturnType<typeof placeSae>) =>
		[reads, writes].map((points) => points.map(({ name }) => name));

	test("is what it was trained on", () => {
		const metadata = { hook_name: "transformer.h.1", input_columns: ["activation"] };
		expect(names(placeSae(spec, { ...shape, metadata }))).toEqual([
			["blocks.1.hook_resid_post"],
			["blocks.1.hook_resid_post"],
		]);
		const transcoder = {
			hook_name: "blocks.0.ln2.out,blocks.0.hook_mlp_out",
			input_columns: ["blocks.0.ln2.out"],
			target_columns: ["blocks.0.hook_mlp_out"],
		};
		expect(names(placeSae(spec, { ...shape, metadata: transcoder }))).toEqual([
			["blocks.0.ln2.out"],
			["blocks.0.hook_mlp_out"],
		]);
	});

	test("is refused where it does not fit", () => {
		expect(() => placeSae(spec, shape)).toThrow("give --hook-point");
		expect(() => placeSae(spec, { ...shape, d_in: 12 }, "blocks.0.hook_mlp_out")).toThrow(
			"blocks.0.hook_mlp_out: has 18 numbers per token, the SAE takes 12",
		);
		expect(() => placeSae(spec, shape, "blocks.1.hook_mlp_out:blocks.0.hook_mlp_out")).toThrow(
			"which one pass can't do",
		);
		const place = placeSae(spec, shape, "blocks.0.hook_mlp_out");
		expect(() => checkApart([place, place])).toThrow("two SAEs would replace it");
	});
});

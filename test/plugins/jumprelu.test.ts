import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { core } from "../../core/api.ts";
import { checkArchitecture } from "../../core/conformance/index.ts";
import { foldDecoderNorms } from "../../core/fold.ts";
import { type Gpu, openGpu } from "../../core/gpu/device.ts";
import type { ArchitectureContribution } from "../../core/plugin.ts";
import jumprelu from "../../plugins/jumprelu.ts";
import { randomSae } from "../reference/saelens.ts";
import { describeSpec, encode, freshRows, recover, reloaded } from "./recovering.ts";
import { shrinkage } from "./shrinkage.ts";

let gpu: Gpu;
let rows: Float32Array;
beforeAll(async () => {
	gpu = await openGpu();
	rows = await freshRows(500);
});
afterAll(() => gpu.close());

const RUN = { steps: 500, lr: 0.03 };

/** `least`: of MCC; `most`: of l0. */
async function expectRecovery(options: object, least: number, most: number): Promise<void> {
	const { model, found } = await recover(gpu, "jumprelu", { ...options }, RUN);
	expect(model).toMatchObject({ architecture: "jumprelu", apply_b_dec_to_input: false, settings: {} });
	expect(Object.keys(model.tensors).toSorted()).toEqual(["W_dec", "W_enc", "b_dec", "b_enc", "threshold"]);
	expect(new Set(model.tensors.threshold!.data).size).toBe(64);
	expect(found.mcc).toBeGreaterThan(least);
	const encoded = await encode(gpu, model, rows);
	expect(encoded.l0).toBeGreaterThan(2.5);
	expect(encoded.l0).toBeLessThan(most);
	expect(Math.abs(shrinkage(rows, encoded.decoded) - 1)).toBeLessThan(0.04);
	expect(await encode(gpu, await reloaded(model), rows)).toEqual(encoded);
}

describe("features are found, codes don't shrink, and the SAE is SAELens' jumprelu", () => {
	// Over three seeds: MCC 0.88 to 0.90, l0 4.1 to 4.4, shrinkage 1.00 to 1.01.
	test("with the recipe of GDM", () => expectRecovery({ l0_weight: 0.025 }, 0.8, 5.5));

	// Over three seeds: MCC 0.84 to 0.87, l0 4.6 to 4.8.
	test("with a wanted l0 of 4", () =>
		expectRecovery({ penalty: "quadratic", penalty_l0: 4, l0_weight: 0.3 }, 0.75, 5.5));

	// Over three seeds: MCC 0.95 to 0.97, l0 4.2 to 4.4, shrinkage 0.99 to 1.01.
	test("with the recipe of Anthropic", () =>
		expectRecovery({ recipe: "anthropic", l0_weight: 0.015 }, 0.87, 5.5));
});

test.each([{ penalty: "quadratic", penalty_l0: 3 }, { recipe: "anthropic" }])(
	"keeps what architectures promise with %p",
	(options) => checkArchitecture(jumprelu, { gpu, options }),
);

test("goes on from another SAE's thresholds, also where they are not over 0", () => {
	const [architecture] = jumprelu.contributes(core) as [ArchitectureContribution];
	const sae = foldDecoderNorms(randomSae("jumprelu"));
	const { log_threshold } = architecture.restore!(sae);
	const expected = sae.tensors.threshold!.data.map((value) => Math.max(value, 1e-6));
	expect(expected.filter((value) => value === Math.fround(1e-6)).length).toBeGreaterThan(2);
	for (const [i, value] of log_threshold!.data.entries())
		expect(Math.exp(value) / expected[i]!).toBeCloseTo(1, 5);
});

describe("the description", () => {
	test("of Anthropic's recipe has the paper's numbers, in units of data of mean square norm 1", async () => {
		const options = { recipe: "anthropic", tanh_scale: 4, sparsity_warmup: 1, l0_weight: 20 / 4096 };
		const spec = await describeSpec("jumprelu", options, { d_in: 4096, d_out: 4096, d_sae: 65536 });
		expect(spec.scalars).toEqual({
			l0_weight: { from: 0, to: 20 / 4096, until: 1 },
			bandwidth: 2 / 64,
			tanh_scale: 4 * 64,
		});
		expect(Object.fromEntries(spec.parameters.map(({ name, init }) => [name, init]))).toEqual({
			W_dec: { kind: "uniform", bound: 1 / 64 },
			W_enc: { kind: "copy", of: "W_dec", scale: 1 / 16 },
			b_enc: { kind: "firing_rate", rate: 0.05, threshold: 0.1 / 64 },
			b_dec: { kind: "data_centre", method: "geometric_median" },
			log_threshold: { kind: "constant", value: Math.log(0.1 / 64) },
		});
		expect(spec.parameters.every(({ constraint }) => constraint === undefined)).toBe(true);
	});

	test("leaves its weight to the trainer's L0 controller, but for the quadratic penalty", async () => {
		expect((await describeSpec("jumprelu", {})).sparsity).toBe("l0_weight");
		const quadratic = await describeSpec("jumprelu", { penalty: "quadratic", penalty_l0: 3 });
		expect(quadratic.sparsity).toBeUndefined();
		expect(quadratic.scalars).toMatchObject({ l0_weight: { to: 1 }, penalty_l0: 3 });
	});

	test("has no help for dead latents when told so", async () => {
		const spec = await describeSpec("jumprelu", { dead_weight: 0, firing_rate: 0 });
		expect(spec.revival).toBeUndefined();
		expect(spec.parameters.find(({ name }) => name === "b_enc")!.init).toEqual({ kind: "constant" });
	});

	test.each([
		[{ penalty: "quadratic" }, "--penalty quadratic and --penalty-l0 need each other"],
		[{ penalty_l0: 20 }, "--penalty quadratic and --penalty-l0 need each other"],
		[
			{ recipe: "anthropic", penalty: "quadratic", penalty_l0: 20 },
			"--penalty quadratic: belongs to --recipe gdm",
		],
	])("refuses %p", async (options, message) => {
		await expect(describeSpec("jumprelu", options)).rejects.toThrow(message);
	});
});

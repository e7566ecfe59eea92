/** What families with a budget of codes have in common: how they check it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Gpu, openGpu } from "../../core/gpu/device.ts";
import { createRegistry } from "../../core/registry.ts";
import { rowStream } from "../../core/row-stream.ts";
import { plugins } from "../../plugins/index.ts";
import { encode, freshRows, learn } from "./recovering.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

const registry = createRegistry(plugins);
const saved = (architecture: string, settings: Record<string, unknown>) => ({
	architecture,
	d_in: 8,
	d_sae: 16,
	apply_b_dec_to_input: true,
	normalize_activations: "none" as const,
	settings: settings as never,
	metadata: {},
	tensors: {},
});

describe.each(["topk", "signed-topk", "archetypal", "msae", "product-keys", "groupmax"])("%s", (name) => {
	test.each([[{}], [{ k: "four" }], [{ k: 0 }], [{ k: 2.5 }], [{ k: Number.NaN }]])(
		"refuses a saved k that is none: %p",
		async (settings) => {
			const { inference } = (await registry.find("architecture", name))!;
			expect(() => inference(saved(name, settings), {})).toThrow(
				`a ${name} SAE needs a whole k of at least 1, got ${(settings as { k?: unknown }).k}`,
			);
		},
	);

	test("encodes with the k that was saved, or with the one asked for", async () => {
		const { inference } = (await registry.find("architecture", name))!;
		const budgetOf = (override: { k?: number }) => {
			const { select } = inference(saved(name, { k: 4 }), override);
			return select.kind === "group_max" ? select.groups : "k" in select && select.k;
		};
		expect(budgetOf({})).toBe(4);
		if (name === "groupmax") expect(() => budgetOf({ k: 7 })).toThrow("one latent of each of its 4 groups");
		else expect(budgetOf({ k: 7 })).toBe(7);
	});
});

test("k may be any number up to d_sae", async () => {
	const rows = await freshRows(64);
	const one = (architecture: string, k: number, d_sae: number) =>
		learn(gpu, architecture, { k }, rowStream([rows], 32), { steps: 1, d_sae, batch: 64 });
	const { model, last } = await one("topk", 520, 544);
	// Of 544 pre-activations about half are positive, and no others are kept.
	expect(last.l0).toBeWithin(150, 520);
	expect((await encode(gpu, model, rows)).l0).toBeWithin(150, 520);
	for (const name of ["topk", "batchtopk"]) {
		await expect(one(name, 65, 64)).rejects.toThrow("k 65 is larger than d_sae 64");
	}
});

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Gpu } from "../../core/gpu/device.ts";
import { openGpu } from "../../core/gpu/device.ts";
import { openSae, scaledK } from "../../core/open-sae.ts";
import { definePlugin } from "../../core/plugin.ts";
import { createRegistry } from "../../core/registry.ts";
import { randomStream, randomTensor, randomTopK } from "../reference/models.ts";
import { decode, encodeTopK } from "../reference/topk.ts";

const model = randomTopK(10, 48, 4);
const ROWS = 21;
const x = randomTensor([ROWS, 10], randomStream(1), 2).data;

/** The least that makes an architecture run. */
const plugin = definePlugin({
	name: "test",
	apiVersion: 1,
	contributes: ({ z }) => [
		{
			kind: "architecture",
			name: "topk",
			summary: "",
			options: z.object({}),
			training: () => expect.unreachable(),
			settings: () => ({}),
			inference: ({ settings }, { k }) => ({ select: { kind: "topk", k: k ?? Number(settings.k) } }),
		},
	],
});
const registry = createRegistry([
	{ name: "test", provides: ["architecture:topk"], load: async () => ({ default: plugin }) },
]);

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

describe("openSae", () => {
	test.each([4, 9])("encodes and decodes with k %i as the definition says", async (k) => {
		const runtime = await openSae(model, { gpu, registry, ...(k === 4 ? {} : { k }) });
		const codes = await runtime.encode(x, ROWS);
		const expected = encodeTopK(model, x, ROWS, k);
		const reconstructions = await runtime.decode(codes);
		runtime.close();
		expect(nonZero(codes)).toEqual(nonZero(expected));
		const exact = decode(model, expected);
		for (const [i, value] of exact.entries())
			expect(Math.abs(reconstructions[i]! - value)).toBeLessThan(1e-4);
	});

	test("refuses what can't run", async () => {
		const strange = { ...model, architecture: "strange" };
		await expect(openSae(strange, { gpu, registry })).rejects.toThrow(
			'no plugin can run the architecture "strange"',
		);
		for (const k of [0, 49, 1.5])
			await expect(openSae(model, { gpu, registry, k })).rejects.toThrow("from 1 to d_sae (48)");
	});
});

test("scaledK rounds alpha times k and stays within the SAE", () => {
	expect(scaledK(model, 1.5)).toBe(6);
	expect(scaledK(model, 1.1)).toBe(4);
	expect(scaledK(model, 0.01)).toBe(1);
	expect(scaledK(model, 1000)).toBe(48);
	expect(() => scaledK({ ...model, settings: {} }, 2)).toThrow("fixed k");
});

/** Row and latent of every entry that fires. */
function nonZero({ rows, offsets, index, value }: ReturnType<typeof encodeTopK>): string[] {
	const entries: string[] = [];
	for (let row = 0; row < rows; row++) {
		for (let entry = offsets[row]!; entry < offsets[row + 1]!; entry++) {
			if (value[entry]! > 0) entries.push(`${row}:${index[entry]}`);
		}
	}
	return entries;
}

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Nesting } from "../../core/architecture.ts";
import { type Gpu, openGpu } from "../../core/gpu/device.ts";
import { rowStream } from "../../core/row-stream.ts";
import type { SaeModel } from "../../core/sae.ts";
import { randomStream } from "../reference/models.ts";
import { bestLatents } from "./features.ts";
import { describeSpec, encode, learn, reloaded } from "./recovering.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

describe("nested parts", () => {
	const nestingOf = async (options: Readonly<Record<string, unknown>>, d_sae = 64) =>
		(await describeSpec("matryoshka", options, { d_sae })).loss[0].nested as Nesting;

	test("are the authors' prefixes and the empty one, all of one weight", async () => {
		const { sizes, weights } = await nestingOf({});
		expect(sizes).toEqual([0, 4, 8, 16, 32, 64]);
		expect(weights).toEqual(new Array(6).fill(1 / 6));
	});

	test("have weights that come to 1", async () => {
		const { weights } = await nestingOf({ prefixes: "1/4", prefix_weights: "1,.5,2.5" });
		expect(weights).toEqual([0.25, 0.125, 0.625]);
	});

	test("are others for every update where they are random, but always as many", async () => {
		const { sizes, weights } = await nestingOf({ prefixes: "random", prefix_count: 5, empty_prefix: false });
		if (typeof sizes !== "function") return expect.unreachable();
		expect(weights).toHaveLength(5);
		expect(sizes(1)).toHaveLength(5);
		expect(sizes(7)).toEqual(sizes(7));
		expect(sizes(7)).not.toEqual(sizes(8));
	});

	test.each<[Record<string, unknown>, string]>([
		[{ prefixes: "1/2,1/4" }, "--prefixes: must rise"],
		[{ prefixes: "half" }, "must list numbers of latents or shares"],
		[{ prefix_weights: "1,2" }, "--prefix-weights: has 2 numbers for 6 prefixes"],
		[{ prefixes: "8", prefix_weights: "1,1,0" }, "the last one, of all latents, must be over 0"],
		[{ prefixes: "random", prefix_count: 14 }, "--prefix-count 14: there are only 8 latents"],
	])("of %j are refused", async (options, message) => {
		await expect(nestingOf(options, "prefix_count" in options ? 8 : 64)).rejects.toThrow(message);
	});
});

describe("a hierarchy of features", () => {
	const [d_in, parents, children] = [32, 8, 3];
	const features = parents * (1 + children);
	const random = randomStream(11);
	/** Feature i is dimension i, parents first. */
	const truth = new Float32Array(parents * d_in);
	for (let parent = 0; parent < parents; parent++) truth[parent * d_in + parent] = 1;

	/** Each parent is on in 15 % of the rows, and then, three times in four, so is one of its own children. */
	function family(count: number) {
		const rows = new Float32Array(count * d_in);
		const withChild: (readonly [row: number, parent: number])[] = [];
		for (let row = 0; row < count; row++) {
			for (let parent = 0; parent < parents; parent++) {
				const [on, child] = [random() < 0.15, Math.floor(4 * random())];
				if (!on) continue;
				rows[row * d_in + parent] = 1;
				if (child === children) continue;
				rows[row * d_in + parents + parent * children + child] = 1;
				withChild.push([row, parent]);
			}
		}
		return { rows, withChild };
	}

	/** The latent nearest to each parent. */
	const nearestOf = ({ tensors }: SaeModel) =>
		bestLatents(truth, d_in, tensors.W_dec!).map(({ latent }) => latent);

	/** Of the rows with a parent and a child of it, the share in which the latent nearest to the parent is active. */
	async function parentsSeen(model: SaeModel): Promise<number> {
		const nearest = nearestOf(model);
		const { rows, withChild } = family(1000);
		const { offsets, index } = (await encode(gpu, model, rows)).codes;
		const seen = withChild.filter(([row, parent]) =>
			index.subarray(offsets[row], offsets[row + 1]).includes(nearest[parent]!),
		);
		return seen.length / withChild.length;
	}

	const run = { steps: 400, d_sae: features };
	const train = async (name: string, options: Readonly<Record<string, unknown>>) => {
		const stream = rowStream([family(run.steps * 256).rows], d_in);
		return (await learn(gpu, name, { k: 2, ...options }, stream, run)).model;
	};

	test("shows its parents beside their children in a Matryoshka SAE, where BatchTopK has them absorbed", async () => {
		const model = await train("matryoshka", { prefixes: "10" });
		expect(model).toMatchObject({ architecture: "jumprelu", settings: {} });
		// 0.96 and 0.64 where this was written.
		expect(await parentsSeen(model)).toBeGreaterThan(0.85);
		expect(await parentsSeen(await train("batchtopk", {}))).toBeLessThan(0.75);

		const { rows } = family(1000);
		const encoded = await encode(gpu, model, rows);
		expect(Math.abs(encoded.l0 - 2)).toBeLessThan(0.4);
		expect(await encode(gpu, await reloaded(model), rows)).toEqual(encoded);
	});

	test("has its parents first where prefixes are random", async () => {
		const model = await train("matryoshka", { prefixes: "random", prefix_count: 4 });
		const first = nearestOf(model).filter((latent) => latent < features / 2);
		expect(first.length).toBeGreaterThanOrEqual(7);
	});
});

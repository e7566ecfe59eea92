/** Steps whose encoder product is of halved operands agree with the reference as well as those of whole ones. */
import { afterAll, describe, expect, test } from "bun:test";
import { openGpu } from "../../../core/gpu/device.ts";
import { encoderChunks } from "../../../core/gpu/encoder.ts";
import { ParameterStore } from "../../../core/gpu/parameters.ts";
import { Gpu } from "../../../kernels/gpu.ts";
import { planLayout } from "../../../kernels/layout.ts";
import { submit } from "../../../kernels/program.ts";
import { type HalfProduct, SUMMARY_ERROR } from "../../../kernels/tensor-product.ts";
import { PLAIN_HALF_PRODUCT } from "../../kernels/half-product.ts";
import { randomStream } from "../../reference/models.ts";
import type { State } from "../../reference/train-step.ts";
import { expectAgreement, topkCase } from "./agreement.ts";
import { families } from "./specs.ts";

const device = await openGpu();
afterAll(() => device.close());

/** Tensor cores where the device has them, and everywhere a product that gives as much and as little. */
const products = [
	["a plain product", PLAIN_HALF_PRODUCT],
	...(device.halfProduct ? [["tensor cores", device.halfProduct] as const] : []),
] as const;

const open = (halfProduct: HalfProduct, maxBinding?: number) =>
	new Gpu({ device: device.device, info: device.info, keepAlive: [], halfProduct }, maxBinding);

const BASE = { d_in: 40, d_sae: 300, rows: 37, k: 5 };

const cases: Record<string, Parameters<typeof topkCase>[0]> = {
	topk: BASE,
	"k = 1": { ...BASE, k: 1 },
	"k = d_sae: rows have no bound": { ...BASE, d_sae: 70, k: 70, steps: 2 },
	"float16 rows, clipped": { ...BASE, format: "float16", settings: { clip: 0.5 } },
	"AuxK among dead latents": { ...BASE, auxk: 12, settings: { dead_after: 40 }, steps: 4 },
	"values that halves can't tell apart": { ...BASE, steps: 1, d_sae: 100, change: alike },
	"more of them than there is room for": { ...BASE, steps: 1, change: alike },
	"values far from 1": {
		...BASE,
		data: (values) => {
			for (const i of values.keys()) values[i]! *= i % 40 === 3 ? 900 : 1e-3;
		},
	},
	"fewer positive values than k": { ...BASE, change: ({ parameters }) => parameters.b_enc!.fill(-2) },
	"no positive value at all": { ...BASE, change: ({ parameters }) => parameters.b_enc!.fill(-100) },
	"rows of zeros": { ...BASE, data: (values) => values.fill(0, 0, 5 * BASE.d_in) },
};

/** All latents have one direction, and biases that differ by less than float16 resolves. */
function alike({ parameters: { W_enc, b_enc } }: State, random: () => number): void {
	for (let i = BASE.d_in; i < W_enc!.length; i++) W_enc![i] = W_enc![i % BASE.d_in]! * (1 + 2e-4 * random());
	for (const i of b_enc!.keys()) b_enc![i] = 1e-4 * random();
}

describe.each(products)("%s", (_, product) => {
	const gpu = open(product);
	test.each(Object.entries(cases))("%s", (_, given) => expectAgreement(gpu, topkCase(given)));

	test("in shards", () =>
		expectAgreement(
			open(product, 2 ** 20),
			topkCase({ ...BASE, d_in: 400, d_sae: 600, auxk: 12, settings: { dead_after: 40 }, steps: 2 }),
		));

	test("by magnitude", () => {
		const [, signed] = Object.entries(families({ d_in: 40, d_out: 40, d_sae: 300 })).find(([name]) =>
			/magnitude|signed/.test(name),
		)!;
		return expectAgreement(gpu, { ...signed, rows: 37 });
	});

	test.each([16, 40, 768])(
		"summaries of halved products are never below the truth, and above it by less than the bound, at width %i",
		async (d_in) => {
			const [rows, d_sae] = [20, 140];
			const layout = planLayout({ d_in, d_sae, rows }, gpu.maxBinding);
			const store = new ParameterStore(gpu, layout, {
				vectors: [],
				derived: [],
				dense: [],
				trained: false,
				averaged: false,
				state: { threshold: 0, density: false },
			});
			const random = randomStream(d_in);
			const signed = (scale: number) => (2 * random() - 1) * scale;
			// Sizes of elements and of whole rows that float16 could not hold side by side.
			const x = Float32Array.from({ length: layout.paddedRows * layout.width }, () =>
				signed(10 ** signed(6)),
			);
			const W = Float32Array.from({ length: d_in * d_sae }, (_, i) =>
				signed(10 ** (Math.floor(i / d_in) % 7)),
			);
			store.write("W_enc", W);
			const input = gpu.buffer("x", x.byteLength);
			gpu.write(input, x);
			const [chunk] = encoderChunks(gpu, layout, {
				input,
				parameters: store,
				maximaOf: "value",
				keep: false,
				reranked: true,
				floats: (label, count) => gpu.buffer(label, count * 4),
				constants: (...words) => gpu.constants(...words),
			});
			submit(gpu, chunk!.product);
			const fours = new Uint32Array(await gpu.read(chunk!.fours, 0, rows * layout.paddedKeys));
			const largest = new Float32Array(await gpu.read(chunk!.halved!.largest, 0, 4))[0]!;
			const norms = Array.from({ length: d_sae }, (_, latent) => {
				let square = 0;
				for (let i = 0; i < d_in; i++) square += W[latent * d_in + i]! ** 2;
				return Math.sqrt(square);
			});
			expect(largest / Math.max(...norms)).toBeCloseTo(1, 5);
			let worst = 0;
			for (let row = 0; row < rows; row++) {
				const at = row * layout.width;
				const norm = Math.hypot(...x.subarray(at, at + layout.width));
				for (let four = 0; four < d_sae / 4; four++) {
					const values = [0, 1, 2, 3].map((j) => {
						const latent = 4 * four + j;
						let exact = 0;
						for (let i = 0; i < d_in; i++) exact += x[at + i]! * W[latent * d_in + i]!;
						return exact;
					});
					// Elements are off by at most 2⁻¹¹ of themselves, on either side.
					const margin = (2 ** -10 * 1.02 + layout.width * 2 ** -23) * norm * Math.max(...norms);
					const { value, which, others } = read(fours[(row * layout.paddedKeys) / 4 + four]!);
					const [most, next] = values.toSorted((a, b) => b - a) as [number, number];
					if (value === 0) {
						expect(most).toBeLessThan(0);
						continue;
					}
					expect(value).toBeLessThan((most + 2 * margin) * (1 + SUMMARY_ERROR));
					expect(value).toBeGreaterThan(most);
					expect(values[which]).toBeGreaterThan(most - 2 * margin);
					expect(others).toBeGreaterThan(next);
					// A bound of no use would let everything in.
					expect(others).toBeLessThan(Math.max(0, next + 2 * margin) + value / 15);
					worst = Math.max(worst, Math.abs(value - most - margin) / margin);
				}
			}
			expect(worst).toBeGreaterThan(1e-3);
		},
	);
});

/** The parts of a summary. */
function read(word: number) {
	const value = new Float32Array(Uint32Array.of(word & 0xffffff80).buffer)[0]!;
	return { value, which: word & 3, others: (value * ((word >> 2) & 31)) / 31 };
}

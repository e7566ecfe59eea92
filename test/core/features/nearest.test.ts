import { afterAll, beforeAll, expect, test } from "bun:test";
import { decoderRows, encoderDecoderCosines } from "../../../core/features/decoder.ts";
import { nearestLatents } from "../../../core/features/nearest.ts";
import { type Gpu, openGpu } from "../../../core/gpu/device.ts";
import { randomTopK } from "../../reference/models.ts";

const [D_IN, D_SAE] = [6, 50];
const random = randomTopK(D_IN, D_SAE, 4);
const W_dec = random.tensors.W_dec!.data.map((value, i) => value * (1 + Math.floor(i / D_IN)));
// Three copies of one row, and two rows of zeros.
for (const copy of [11, 12]) W_dec.copyWithin(copy * D_IN, 10 * D_IN, 11 * D_IN);
for (const dead of [20, 21]) W_dec.fill(0, dead * D_IN, (dead + 1) * D_IN);
const model = { ...random, tensors: { ...random.tensors, W_dec: { shape: [D_SAE, D_IN], data: W_dec } } };

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
	const dot = (x: ArrayLike<number>, y: ArrayLike<number>) =>
		Array.from(x).reduce((sum, value, i) => sum + value * y[i]!, 0);
	const norms = Math.sqrt(dot(a, a) * dot(b, b));
	return norms === 0 ? 0 : dot(a, b) / norms;
}

const row = (latent: number) => W_dec.subarray(latent * D_IN, (latent + 1) * D_IN);

test("nearest latents are those of the largest cosines", async () => {
	const found = await nearestLatents(gpu, decoderRows(model), 5);
	for (let latent = 0; latent < D_SAE; latent++) {
		const wanted = [...Array(D_SAE).keys()]
			.filter((other) => other !== latent)
			.map((other) => ({ latent: other, cosine: cosine(row(latent), row(other)) }))
			.filter((one) => one.cosine > 0)
			.sort((a, b) => b.cosine - a.cosine)
			.slice(0, 5);
		const own = found.of(latent);
		expect(own.map((one) => one.latent).sort()).toEqual(wanted.map((one) => one.latent).sort());
		for (const [i, one] of own.entries()) expect(one.cosine).toBeCloseTo(wanted[i]!.cosine, 5);
	}
	expect(found.of(20)).toEqual([]);
	expect(
		found
			.of(10)
			.slice(0, 2)
			.map((one) => one.latent),
	).toEqual([11, 12]);
});

test("of an SAE with fewer latents than are wanted, all that point the same way", async () => {
	const unit = Float32Array.of(1, 0, 0.6, 0.8, -1, 0);
	const found = await nearestLatents(gpu, { width: 2, unit, norms: Float32Array.of(1, 1, 1) }, 10);
	expect(found.of(0).map((one) => one.latent)).toEqual([1]);
	expect(found.of(2)).toEqual([]);
});

test("norms of decoder rows, and cosines with the encoder", () => {
	const rows = decoderRows(model);
	const cosines = encoderDecoderCosines(model, rows)!;
	for (let latent = 0; latent < D_SAE; latent++) {
		expect(rows.norms[latent]).toBeCloseTo(Math.hypot(...row(latent)), 4);
		const column = Array.from({ length: D_IN }, (_, i) => random.tensors.W_enc!.data[i * D_SAE + latent]!);
		expect(cosines[latent]).toBeCloseTo(cosine(column, row(latent)), 5);
	}
	expect(encoderDecoderCosines({ ...model, d_in: 3 }, rows)).toBeUndefined();
});

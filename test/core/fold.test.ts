import { describe, expect, test } from "bun:test";
import { foldDecoderNorms, foldInputScale, foldScales } from "../../core/fold.ts";
import type { Codes, SaeModel } from "../../core/sae.ts";
import { randomStream, randomTensor, randomTopK, withSkip } from "../reference/models.ts";
import { decode, encodeTopK, preActivations } from "../reference/topk.ts";

const D_IN = 7;
const D_SAE = 19;
const K = 4;
const ROWS = 11;
const x = randomTensor([ROWS, D_IN], randomStream(5), 3).data;

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance = 1e-5): void {
	expect(actual.length).toBe(expected.length);
	for (let i = 0; i < expected.length; i++) {
		expect(Math.abs(actual[i]! - expected[i]!)).toBeLessThan(tolerance);
	}
}

describe("foldInputScale", () => {
	const scale = 0.32;
	const trained = randomTopK(D_IN, D_SAE, K);
	const folded = foldInputScale(trained, scale);

	test("encodes raw rows as the trained SAE encodes scaled ones, in raw units", () => {
		const unfolded = encodeTopK(
			trained,
			x.map((value) => value * scale),
			ROWS,
			K,
		);
		const codes = encodeTopK(folded, x, ROWS, K);
		expect(codes.index).toEqual(unfolded.index);
		expectClose(
			codes.value,
			unfolded.value.map((value) => value / scale),
		);
		expectClose(
			decode(folded, codes),
			decode(trained, unfolded).map((value) => value / scale),
		);
	});

	test("leaves the matrices alone, and the original", () => {
		expect(folded.tensors.W_enc).toBe(trained.tensors.W_enc!);
		expect(folded.tensors.W_dec).toBe(trained.tensors.W_dec!);
		expect(folded.tensors.b_dec).not.toEqual(trained.tensors.b_dec!);
	});

	test("keeps a threshold's gate", () => {
		const jump = { ...trained, architecture: "jumprelu", settings: {}, tensors: withThreshold(trained) };
		const open = gates(
			jump,
			x.map((value) => value * scale),
		);
		expect(gates(foldInputScale(jump, scale), x)).toEqual(open);
		expect(open).toContain(true);
		expect(open).toContain(false);
	});

	test("refuses what it can't fold", () => {
		expect(() => foldInputScale(trained, 0)).toThrow("positive and finite");
		expect(() => foldInputScale({ ...trained, normalize_activations: "layer_norm" }, 2)).toThrow(
			"layer_norm",
		);
	});
});

describe("foldScales", () => {
	const transcoder = withSkip(randomTopK(D_IN, D_SAE, K), 5);
	const columns = (width: number, seed: number) =>
		randomTensor([width], randomStream(seed)).data.map((value) => value + 1.5);
	const at = (scale: number | Float32Array, i: number) =>
		typeof scale === "number" ? scale : scale[i % scale.length]!;

	test.each([
		["numbers", 0.4, 2.5],
		["one for each column", columns(D_IN, 1), columns(5, 2)],
	])("a transcoder with a skip connection takes raw inputs to raw targets: %s", (_, input, target) => {
		const scaled = x.map((value, i) => value * at(input, i));
		const unfolded = encodeTopK(transcoder, scaled, ROWS, K);
		const wanted = decode(transcoder, unfolded, scaled).map((value, i) => value / at(target, i));
		const folded = foldScales(transcoder, input, target);
		const codes = encodeTopK(folded, x, ROWS, K);
		expect(codes.index).toEqual(unfolded.index);
		expectClose(decode(folded, codes, x), wanted, 1e-4);
	});
});

describe("foldDecoderNorms", () => {
	const unit = randomTopK(D_IN, D_SAE, K, 2);
	const random = randomStream(9);
	const norms = Float64Array.from({ length: D_SAE }, () => 0.25 + 2 * random());
	const stretched: SaeModel = {
		...unit,
		settings: { k: K, rescale_acts_by_decoder_norm: true },
		tensors: {
			...unit.tensors,
			W_dec: {
				shape: [D_SAE, D_IN],
				data: unit.tensors.W_dec!.data.map((v, i) => v * norms[Math.floor(i / D_IN)]!),
			},
		},
	};

	test("a topk SAE that selects by activation times norm keeps its latents and reconstruction", () => {
		const folded = foldDecoderNorms(stretched);
		const codes = encodeTopK(folded, x, ROWS, K);
		const expected = rescaledTopK(stretched, norms);
		expect(Array.from(codes.index)).toEqual(expected.index);
		expectClose(codes.value, expected.value);
		const divided: Codes = { ...codes, value: codes.value.map((v, i) => v / norms[codes.index[i]!]!) };
		expectClose(decode(folded, codes), decode(stretched, divided));
		expectClose(folded.tensors.W_dec!.data, unit.tensors.W_dec!.data, 1e-6);
		expect(folded.settings).toEqual({ k: K });
	});

	test("is idempotent, bit by bit", () => {
		const once = foldDecoderNorms(stretched);
		const twice = foldDecoderNorms(once);
		expect(twice.tensors).toEqual(once.tensors);
	});

	test("refuses a topk SAE that selects before the norms", () => {
		expect(() => foldDecoderNorms({ ...stretched, settings: { k: K } })).toThrow("selects before scaling");
	});

	test("keeps a threshold's gate, and rows of norm zero", () => {
		const W_dec = { ...stretched.tensors.W_dec!, data: stretched.tensors.W_dec!.data.slice() };
		W_dec.data.fill(0, 0, D_IN);
		const jump: SaeModel = {
			...stretched,
			architecture: "jumprelu",
			tensors: { ...withThreshold(stretched), W_dec },
		};
		const folded = foldDecoderNorms(jump);
		expect(gates(folded, x)).toEqual(gates(jump, x));
		expect(folded.tensors.b_enc!.data[0]).toBe(jump.tensors.b_enc!.data[0]!);
	});

	/** SAELens' rule, spelled out: the k largest of pre-activation times norm, which are also the codes. */
	function rescaledTopK(model: SaeModel, norms: Float64Array): { index: number[]; value: number[] } {
		const pre = preActivations(model, x, ROWS).map((z, i) => z * norms[i % D_SAE]!);
		const index: number[] = [];
		const value: number[] = [];
		for (let row = 0; row < ROWS; row++) {
			const z = Array.from(pre.subarray(row * D_SAE, (row + 1) * D_SAE));
			const threshold = z.toSorted((a, b) => b - a)[K - 1]!;
			z.forEach((v, latent) => {
				if (v < threshold || v <= 0) return;
				index.push(latent);
				value.push(v);
			});
		}
		return { index, value };
	}
});

function withThreshold(model: SaeModel): SaeModel["tensors"] {
	return { ...model.tensors, threshold: { shape: [D_SAE], data: new Float32Array(D_SAE).fill(0.4) } };
}

function gates(model: SaeModel, rows: Float32Array): boolean[] {
	const threshold = model.tensors.threshold!.data;
	return Array.from(preActivations(model, rows, ROWS), (z, i) => z > threshold[i % D_SAE]!);
}

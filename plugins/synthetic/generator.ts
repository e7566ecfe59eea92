/**
 * Activations with a known dictionary: h = a·D + noise, where the rows of D are random unit vectors and a is sparse
 * and not negative. Every row is a pure function of the seed and its number.
 */
import type { Core } from "saeflow";
import { type Support, supportSampler } from "./support.ts";

export interface Generator {
	readonly d_in: number;
	/** Features. */
	readonly features: number;
	readonly support: Support;
	/** Values of active features are uniform on [low, high). */
	readonly magnitude: { readonly low: number; readonly high: number };
	/** Standard deviation of the Gaussian noise in each dimension. */
	readonly noise: number;
	readonly seed: number;
}

/** Random families of one seed, one for each purpose. */
const FAMILY = { dictionary: 0, support: 1, magnitude: 2, noise: 3, loadings: 4 } as const;

/** Sets the data's families apart from a trainer's, so that an SAE of the same seed doesn't begin as the truth. */
const SYNTHETIC = 0x73796e74;

function family(core: Core, seed: number, purpose: keyof typeof FAMILY) {
	return new core.CounterRng(seed).derive(SYNTHETIC).derive(FAMILY[purpose]);
}

/** The dictionary D [features, d_in], rows uniform on the unit sphere. */
export function dictionary(core: Core, { d_in, features, seed }: Generator): Float32Array {
	return unitRows(family(core, seed, "dictionary"), features, d_in);
}

/** A function that writes rows `start` to `start + count` of h, row-major, into `out`. */
export function rowWriter(
	core: Core,
	generator: Generator,
	D: Float32Array,
): (out: Float32Array, start: number, count: number) => void {
	const { d_in, features, magnitude, noise, seed } = generator;
	const loadings = (rank: number) => unitRows(family(core, seed, "loadings"), features, rank);
	const activeOf = supportSampler(generator.support, features, family(core, seed, "support"), loadings);
	const magnitudes = family(core, seed, "magnitude");
	const noises = family(core, seed, "noise");
	const active = new Uint32Array(features);
	const h = new Float64Array(d_in);
	return (out, start, count) => {
		for (let r = 0; r < count; r++) {
			const row = start + r;
			h.fill(0);
			const n = activeOf(row, active);
			for (let i = 0; i < n; i++) {
				const feature = active[i]!;
				const u = magnitudes.uniform(row * features + feature);
				const value = magnitude.low + (magnitude.high - magnitude.low) * u;
				const from = feature * d_in;
				for (let j = 0; j < d_in; j++) h[j]! += value * D[from + j]!;
			}
			if (noise > 0) for (let j = 0; j < d_in; j++) h[j]! += noise * noises.normal(row * d_in + j);
			out.set(h, r * d_in);
		}
	};
}

/** Rows uniform on the unit sphere. */
function unitRows(rng: InstanceType<Core["CounterRng"]>, rows: number, width: number): Float32Array {
	const out = new Float32Array(rows * width);
	for (let row = 0; row < rows; row++) {
		let square = 0;
		for (let j = 0; j < width; j++) {
			const value = rng.normal(row * width + j);
			out[row * width + j] = value;
			square += value * value;
		}
		const scale = 1 / Math.sqrt(square);
		for (let j = 0; j < width; j++) out[row * width + j]! *= scale;
	}
	return out;
}

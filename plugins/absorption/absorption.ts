/** Whether other latents stand in for those of a feature, on rows that have the feature (SAEBench's definition). */
import type { SparseRow } from "../probing/examples.ts";

/** Activations below this count as none. */
const SILENT = 1e-8;
/** Least cosine with the probe of the latent that absorbs fully, and of those that absorb in part. */
const FULL_COSINE = 0.025;
const PART_COSINE = 0.1;
/** Least share of the row's projection that has to come from latents that absorb. */
const LEAST_SHARE = 0.4;
/** Latents that may absorb in part. */
const MOST_ABSORBING = 3;

export interface ProbeView {
	/** Cosine of each latent's decoder row with the probe. */
	readonly cosine: Float64Array;
	/** Norm of each decoder row. */
	readonly norm: Float64Array;
	/** The latents of the feature. */
	readonly main: ReadonlySet<number>;
}

export interface Absorption {
	readonly full: boolean;
	/** 0 to 1. */
	readonly fraction: number;
}

/** Of one row: its latents, and its projection on the probe's direction. */
export function absorptionOf(
	latents: SparseRow,
	projection: number,
	{ cosine, norm, main }: ProbeView,
): Absorption {
	const parts = Array.from(latents.index, (latent, i) => ({
		latent,
		value: latents.value[i]!,
		share: latents.value[i]! * norm[latent]! * cosine[latent]!,
	}));
	const own = parts.filter(({ latent }) => main.has(latent));
	const others = parts.filter(({ latent }) => !main.has(latent)).sort((a, b) => b.share - a.share);
	const silent = own.every(({ value }) => value < SILENT);
	const [top] = others;
	const enough = (share: number) => projection > 0 && share / projection >= LEAST_SHARE;
	const full = silent && top !== undefined && cosine[top.latent]! >= FULL_COSINE && enough(top.share);
	const mainShare = sum(own.map(({ share }) => share));
	const absorbing = others.filter(({ latent, share }) => cosine[latent]! >= PART_COSINE && share > 0);
	const absorbed = sum(absorbing.slice(0, MOST_ABSORBING).map(({ share }) => share));
	if (mainShare >= projection || !enough(absorbed)) return { full, fraction: 0 };
	if (mainShare <= 0) return { full, fraction: 1 };
	const used = Math.min(absorbed, projection - mainShare);
	return { full, fraction: Math.min(1, Math.max(0, used / (used + mainShare))) };
}

/**
 * The F1 scores of the first 1, 2, … latents that are accepted: each one more has to gain over 0.03.
 *
 * @param scoreOf the score of the first so many.
 */
export function accepted(most: number, scoreOf: (count: number) => number, gain = 0.03): number[] {
	const scores = [scoreOf(1)];
	while (scores.length < most) {
		const next = scoreOf(scores.length + 1);
		if (next <= scores.at(-1)! + gain) break;
		scores.push(next);
	}
	return scores;
}

function sum(values: readonly number[]): number {
	return values.reduce((total, value) => total + value, 0);
}

/** Which latents fire, how often and how strongly. Only entries that aren't zero count as firing. */
import type { Codes } from "saeflow";

export class Activity {
	readonly d_sae: number;
	/** Per latent [d_sae]: rows it fired on, the sum of its values, the largest. */
	readonly fired: Float64Array;
	readonly sum: Float64Array;
	readonly max: Float64Array;
	rows = 0;
	/** Rows by how many latents fired on them [d_sae + 1]. */
	readonly #rowsByL0: Float64Array;
	#l1 = 0;

	constructor(d_sae: number) {
		this.d_sae = d_sae;
		this.fired = new Float64Array(d_sae);
		this.sum = new Float64Array(d_sae);
		this.max = new Float64Array(d_sae);
		this.#rowsByL0 = new Float64Array(d_sae + 1);
	}

	add({ rows, offsets, index, value }: Codes): void {
		for (let row = 0; row < rows; row++) {
			let l0 = 0;
			for (let entry = offsets[row]!; entry < offsets[row + 1]!; entry++) {
				const activation = value[entry]!;
				if (activation === 0) continue;
				const latent = index[entry]!;
				l0++;
				this.#l1 += Math.abs(activation);
				this.fired[latent]!++;
				this.sum[latent]! += activation;
				this.max[latent] = Math.max(this.max[latent]!, activation);
			}
			this.#rowsByL0[l0]!++;
		}
		this.rows += rows;
	}

	finish() {
		const l0 = distribution(this.#rowsByL0, this.rows);
		return {
			l0: l0.mean,
			l0_std: l0.std,
			l0_p5: l0.quantile(0.05),
			l0_p50: l0.quantile(0.5),
			l0_p95: l0.quantile(0.95),
			l1: this.rows === 0 ? null : this.#l1 / this.rows,
			/** Share of latents that never fired on these rows: more rows, fewer dead. */
			dead: this.#shareOfLatents((density) => density === 0),
			freq_over_1_percent: this.#shareOfLatents((density) => density > 0.01),
			freq_over_10_percent: this.#shareOfLatents((density) => density > 0.1),
			...this.#densityHistogram(),
		};
	}

	/** Shares that SAEBench has besides: of latents that fire at all, and of all firing by those that fire often. */
	shares(): Record<string, number | null> {
		const all = this.fired.reduce((sum, fired) => sum + fired, 0);
		const often = (least: number) => {
			const by = this.fired.reduce((sum, fired) => sum + (fired / this.rows > least ? fired : 0), 0);
			return all === 0 ? null : by / all;
		};
		return {
			frac_alive: this.#shareOfLatents((density) => density > 0),
			normalized_freq_over_1_percent: often(0.01),
			normalized_freq_over_10_percent: often(0.1),
		};
	}

	/** Share of latents by the decade of their density: `density_1e-3` is the share in [0.001, 0.01). */
	#densityHistogram(): Record<string, number | null> {
		const histogram: Record<string, number | null> = {
			"density_below_1e-6": this.#shareOfLatents((density) => density > 0 && density < 1e-6),
		};
		for (let exponent = -6; exponent < 0; exponent++) {
			// Parsed, for powers of ten are not exact in every engine.
			const from = Number(`1e${exponent}`);
			const to = exponent === -1 ? Number.POSITIVE_INFINITY : Number(`1e${exponent + 1}`);
			histogram[`density_1e${exponent}`] = this.#shareOfLatents((density) => density >= from && density < to);
		}
		return histogram;
	}

	#shareOfLatents(test: (density: number) => boolean): number | null {
		if (this.rows === 0) return null;
		let count = 0;
		for (const fired of this.fired) if (test(fired / this.rows)) count++;
		return count / this.d_sae;
	}
}

/** Mean, deviation and quantiles of whole numbers whose counts are `counts`. */
function distribution(counts: Float64Array, total: number) {
	if (total === 0) return { mean: null, std: null, quantile: () => null };
	const mean = counts.reduce((sum, count, n) => sum + n * count, 0) / total;
	const variance = counts.reduce((sum, count, n) => sum + count * (n - mean) ** 2, 0) / total;
	/** The smallest number that at least this share of rows doesn't exceed. */
	const quantile = (share: number) => {
		let seen = 0;
		return counts.findIndex((count) => {
			seen += count;
			return seen >= share * total;
		});
	};
	return { mean, std: Math.sqrt(variance), quantile };
}

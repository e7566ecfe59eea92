/** Figures of SAEs that took part in one pass together. */
import type { Codes, Core, LossMean, MetricRow, OpenedSae, PassLosses, PassTokens } from "saeflow";

type Changed = PassLosses["changed"];

export class Scores {
	readonly #group: readonly OpenedSae[];
	readonly #clean: LossMean;
	/** With the SAEs, with zeros and with the mean in their place. */
	readonly #changed: readonly [LossMean, LossMean, LossMean];
	/** Active latents, by SAE, and the rows they were counted in. */
	readonly #active: number[];
	#rows = 0;

	constructor(core: Core, group: readonly OpenedSae[]) {
		this.#group = group;
		this.#clean = new core.LossMean();
		this.#changed = [new core.LossMean(), new core.LossMean(), new core.LossMean()];
		this.#active = group.map(() => 0);
	}

	/** Codes of a pass of the SAE of that number. */
	see(sae: number, codes: Codes, counts: (row: number) => boolean): void {
		for (let row = 0; row < codes.rows; row++) {
			if (counts(row)) this.#active[sae]! += codes.offsets[row + 1]! - codes.offsets[row]!;
		}
	}

	add(pass: PassTokens, clean: Float32Array, changed: Changed, counts: (row: number) => boolean): void {
		this.#clean.add(pass, clean, undefined, counts);
		for (const [i, { losses, divergences }] of changed.entries()) {
			this.#changed[i]!.add(pass, losses, divergences, counts);
		}
		for (let row = 0; row < pass.tokens.length; row++) if (counts(row)) this.#rows++;
	}

	row(error: string): MetricRow {
		const clean = this.#clean.means.ce_loss;
		const [sae, zero, mean] = this.#changed.map(({ means }) => means) as [Means, Means, Means];
		const ceScore = (baseline: Means) => share(baseline.ce_loss - sae.ce_loss, baseline.ce_loss - clean);
		const klScore = (baseline: Means) => share(baseline.kl_div - sae.kl_div, baseline.kl_div);
		const hooks = this.#group.map(({ reads, writes }) => hookText(reads, writes));
		return {
			sae: this.#group.map(({ path }) => path).join(" + "),
			hook_name: hooks.join(" + "),
			error,
			tokens: this.#rows,
			predictions: this.#clean.predictions,
			l0: this.#active.reduce((sum, count) => sum + count, 0) / this.#rows,
			ce_loss_without_sae: finite(clean),
			ce_loss_with_sae: finite(sae.ce_loss),
			ce_loss_delta: finite(sae.ce_loss - clean),
			ce_loss_with_ablation: finite(zero.ce_loss),
			ce_loss_score: ceScore(zero),
			ce_loss_with_mean_ablation: finite(mean.ce_loss),
			ce_loss_score_mean_ablation: ceScore(mean),
			kl_div_with_sae: finite(sae.kl_div),
			kl_div_with_ablation: finite(zero.kl_div),
			kl_div_score: klScore(zero),
			kl_div_with_mean_ablation: finite(mean.kl_div),
			kl_div_score_mean_ablation: klScore(mean),
		};
	}
}

type Means = LossMean["means"];

function hookText(reads: OpenedSae["reads"], writes: OpenedSae["writes"]): string {
	const [from, to] = [reads, writes].map((points) => points.map(({ name }) => name).join(","));
	return from === to ? from! : `${from}:${to}`;
}

/** Nothing where a baseline costs nothing: there is then no share of it. */
function share(part: number, whole: number): number | null {
	return whole === 0 ? null : finite(part / whole);
}

function finite(value: number): number | null {
	return Number.isFinite(value) ? value : null;
}

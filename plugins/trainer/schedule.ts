/** What changes from step to step, as pure functions of the step. */
import type { TrainerOptions } from "../trainer.ts";

/**
 * The rate of Adam that TopK SAEs of this width want: it falls with the square root of d_sae (Gao et al. 2024). The
 * factor is five times what long runs elsewhere use, which was best or near it from 250 to 8,000 steps and for d_sae
 * from 512 to 8,192 (docs/training.md has the figures).
 */
export function defaultLearningRate(d_sae: number): number {
	return 1e-3 / Math.sqrt(d_sae / 2 ** 14);
}

/**
 * Share of the full learning rate at a step: a linear rise, a plateau, a linear fall to zero.
 * @param step Updates made before this one. @param steps Updates of the whole run; undefined when nobody knows.
 */
export function learningRateShare(step: number, steps: number | undefined, options: TrainerOptions): number {
	if (steps === undefined) return 1;
	const warm = options.warmup * steps;
	const cool = options.decay * steps;
	const rise = warm > 0 ? Math.min(1, (step + 1) / warm) : 1;
	const fall = cool > 0 ? Math.min(1, (steps - step) / cool) : 1;
	return rise * fall;
}

const MOST_DEAD_TOKENS = 10_000_000;

/** A latent counts as dead after this many rows: the field's 10 million, or less when the run is short. */
export function deadThreshold(options: TrainerOptions): number {
	if (options.dead_tokens !== undefined) return options.dead_tokens;
	if (options.tokens === undefined) return MOST_DEAD_TOKENS;
	return Math.min(MOST_DEAD_TOKENS, Math.max(Math.round(options.tokens / 20), 4 * options.batch_size));
}

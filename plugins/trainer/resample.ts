/**
 * Dead latents start again from rows that are explained badly (Bricken et al. 2023, "Towards Monosemanticity"): the
 * decoder row takes the direction of what is to be reconstructed, the encoder row that of the input at a fifth of the
 * living latents' mean norm, the bias 0, and the optimiser forgets them.
 */
import type { CounterRng } from "saeflow";
import type { TrainerOptions } from "../trainer.ts";

const ENCODER_SHARE = 0.2;

/** Restarts stop at half of the run, so that what they begin can be learned. */
export function isResamplingDue(
	{ resample_every }: TrainerOptions,
	step: number,
	steps: number | undefined,
): boolean {
	return resample_every > 0 && step % resample_every === 0 && (steps === undefined || step <= steps / 2);
}

export interface Resampling {
	/** [n, d_in], as the step sees them. */
	readonly inputs: Float32Array;
	/** [n, d_out]; the inputs themselves where they are what is reconstructed. */
	readonly targets: Float32Array;
	readonly d_in: number;
	readonly d_out: number;
	/** Squared error of each row [n]. */
	readonly errors: Float32Array;
	readonly deadAfter: number;
	readonly random: CounterRng;
}

/** Changes a training state, by the names of its arrays, in place. Returns how many latents were dead. */
export function restartDead(
	state: Readonly<Record<string, Float32Array | Uint32Array>>,
	{ inputs, targets, d_in, d_out, errors, deadAfter, random }: Resampling,
): number {
	const { W_enc, W_dec, b_enc, b_dec, since } = state as Record<string, Float32Array>;
	const dead = [...since!.keys()].filter((latent) => since![latent]! >= deadAfter);
	if (dead.length === 0) return 0;
	const length = norms(W_enc!, d_in);
	const alive = [...length.keys()].filter((latent) => since![latent]! < deadAfter);
	const mean = alive.reduce((sum, latent) => sum + length[latent]!, 0) / Math.max(1, alive.length);
	// Rows are drawn in proportion to the square of their loss.
	const upTo = new Float64Array(errors.length);
	let total = 0;
	for (const [row, error] of errors.entries()) upTo[row] = total += error ** 2;
	for (const [i, latent] of dead.entries()) {
		const wanted = random.uniform(i) * total;
		const row = Math.max(
			0,
			upTo.findIndex((sum) => sum > wanted),
		);
		const wantedRow = targets
			.slice(row * d_out, (row + 1) * d_out)
			.map((value, column) => value - b_dec![column]!);
		const seenRow = targets === inputs ? wantedRow : inputs.slice(row * d_in, (row + 1) * d_in);
		W_dec!.set(unit(wantedRow), latent * d_out);
		const scale = ENCODER_SHARE * (mean || 1);
		W_enc!.set(
			unit(seenRow).map((value) => value * scale),
			latent * d_in,
		);
		b_enc![latent] = 0;
		since![latent] = 0;
		state["moments.W_enc"]!.fill(0, latent * 2 * d_in, (latent + 1) * 2 * d_in);
		state["moments.W_dec"]!.fill(0, latent * 2 * d_out, (latent + 1) * 2 * d_out);
		for (const name of ["moments.b_enc.mean", "moments.b_enc.square"]) state[name]![latent] = 0;
	}
	return dead.length;
}

function unit(row: Float32Array): Float32Array {
	const [norm] = norms(row, row.length);
	return row.map((value) => value / (norm || 1));
}

function norms(weights: Float32Array, width: number): Float64Array {
	const out = new Float64Array(weights.length / width);
	for (const latent of out.keys()) {
		let square = 0;
		for (let i = latent * width; i < (latent + 1) * width; i++) square += weights[i]! ** 2;
		out[latent] = Math.sqrt(square);
	}
	return out;
}

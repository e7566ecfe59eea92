/**
 * Dead latents start again from rows that are explained badly (Bricken et al. 2023, "Towards Monosemanticity"): the
 * decoder row takes the row's direction, the encoder row the same at a fifth of the living latents' mean norm, the bias 0,
 * and the optimiser forgets them.
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
	/** [n, width], as the step sees them. */
	readonly rows: Float32Array;
	/** Squared error of each row [n]. */
	readonly errors: Float32Array;
	readonly width: number;
	readonly deadAfter: number;
	readonly random: CounterRng;
}

/** Changes a training state, by the names of its arrays, in place. Returns how many latents were dead. */
export function restartDead(
	state: Readonly<Record<string, Float32Array | Uint32Array>>,
	{ rows, errors, width, deadAfter, random }: Resampling,
): number {
	const { W_enc, W_dec, b_enc, b_dec, since } = state as Record<string, Float32Array>;
	const dead = [...since!.keys()].filter((latent) => since![latent]! >= deadAfter);
	if (dead.length === 0) return 0;
	const length = norms(W_enc!, width);
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
		const direction = rows
			.slice(row * width, (row + 1) * width)
			.map((value, column) => value - b_dec![column]!);
		const size = Math.sqrt(direction.reduce((sum, value) => sum + value * value, 0)) || 1;
		for (const [column, value] of direction.entries()) {
			W_dec![latent * width + column] = value / size;
			W_enc![latent * width + column] = (value / size) * ENCODER_SHARE * (mean || 1);
		}
		b_enc![latent] = 0;
		since![latent] = 0;
		for (const name of ["moments.W_enc", "moments.W_dec"]) {
			state[name]!.fill(0, latent * 2 * width, (latent + 1) * 2 * width);
		}
		for (const name of ["moments.b_enc.mean", "moments.b_enc.square"]) state[name]![latent] = 0;
	}
	return dead.length;
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

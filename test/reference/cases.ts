/** A random state and batch for each family of descriptions, of a size for the CPU. */
import { type Family, families, randomQuotas, randomState } from "../core/train/specs.ts";
import type { Batch, Conditions } from "./encoder.ts";
import { randomStream } from "./models.ts";
import { select } from "./selection.ts";

const ROWS = 9;

export const FAMILIES = families({ d_in: 6, d_out: 6, d_sae: 16 });

/** Some latents count as dead. */
export function caseOf({ spec, sizes, tilt = 0 }: Family, seed = 4) {
	const random = randomStream(seed);
	const state = { ...randomState(spec, sizes, random), dead: [1, 4, 5, 9] };
	const uniform = (width: number) => Float64Array.from({ length: ROWS * width }, () => 2 * random() - 1);
	const x = uniform(sizes.d_in);
	const batch: Batch = sizes.d_out === sizes.d_in ? { x } : { x, y: uniform(sizes.d_out) };
	const quotas = randomQuotas(sizes.d_sae, ROWS, 3, random);
	const conditions: Conditions = { progress: 0, update: 1, tilt, quotas };
	return { spec, sizes, state, batch, conditions, selection: select(spec, state, batch, conditions) };
}

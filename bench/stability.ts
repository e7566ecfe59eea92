/**
 * How alike two SAEs are, as a rule of two runs that differ in their seed: decoder rows are paired one to one for the
 * largest sum of cosines, whose mean over pairs is printed (Fel et al. 2025).
 *
 *   bun bench/stability.ts SAE SAE
 */
import { loadSae } from "../core/load.ts";
import { recovery } from "../plugins/recovery/matching.ts";

const [a, b] = await Promise.all(
	process.argv.slice(2, 4).map(async (path) => {
		const { d_in, d_out = d_in, d_sae, tensors } = await loadSae(path);
		return { rows: d_sae, width: d_out, data: tensors.W_dec!.data };
	}),
);
if (!a || !b) throw new Error("name two SAEs");
console.log(recovery(a, b).mcc_signed);

/** What families have in common that keep k codes: of each row, or of each row on average. */
import type { Core, InferenceSpec, SaeModel } from "saeflow";
import { type AuxK, auxKOptions, type PreBias, preBiasOption } from "./terms.ts";

/** Options of a family whose dead latents AuxK revives, and whose b_dec starts in the data's centre. */
export interface Budgeted extends AuxK {
	readonly k: number;
	readonly pre_bias: PreBias;
}

/** No more than d_sae, which core sees to. */
export function kOption({ z }: Core, what = "Latents kept per row") {
	return z.int().min(1).default(32).describe(what);
}

/** What it is where rows may have more or fewer. */
export const ON_AVERAGE = "Latents kept per row, on average";

/** The options of {@link Budgeted} besides k, which families word differently. */
export function budgetOptions(core: Core) {
	return { ...auxKOptions(core), pre_bias: preBiasOption(core) };
}

/** The k that a saved SAE encodes with: its own, unless another is asked for. @throws SaeError for one that is none. */
export function keptK(
	{ SaeError, EXIT }: Core,
	{ architecture, settings }: SaeModel,
	asked?: number,
): number {
	const k = asked ?? settings.k;
	if (typeof k !== "number" || !Number.isInteger(k) || k < 1) {
		throw new SaeError(`a ${architecture} SAE needs a whole k of at least 1, got ${k}`, EXIT.data);
	}
	return k;
}

/** Of families that keep the k largest of each row. */
export function topkInference(core: Core) {
	return (model: SaeModel, { k }: { k?: number }): InferenceSpec => ({
		select: { kind: "topk", k: keptK(core, model, k) },
	});
}

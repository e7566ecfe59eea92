/** What families with a sparsity penalty share: options of its coefficient, and codes that are all positive ones. */
import type { Core, InferenceSpec, SaeModel, Schedule } from "saeflow";

export interface Penalised {
	readonly l1: number;
	readonly sparsity_warmup: number;
}

export function l1Option({ z }: Core, value: number) {
	return z.number().min(0).default(value).describe("Weight of the penalty, for rows of mean square norm 1");
}

export function warmupOption({ z }: Core, share: number) {
	return z
		.number()
		.min(0)
		.max(1)
		.default(share)
		.describe("Share of the run over which the weight of the penalty rises from 0");
}

/** A coefficient that rises from 0, where there is time for it. */
export function rising(to: number, until: number): Schedule {
	return until === 0 ? to : { from: 0, to, until };
}

/** f = z where z > 0; with a k, only the k largest. */
export function reluInference(_: SaeModel, { k }: { k?: number }): InferenceSpec {
	return { select: k === undefined ? { kind: "all" } : { kind: "topk", k } };
}

/** The SAE as SAELens saves it: a standard one, of unit decoder rows. */
export function asStandard(core: Core, model: SaeModel): SaeModel {
	return core.foldDecoderNorms({ ...model, architecture: "standard" });
}

/** Of a saved SAE, whose decoder rows may come from anywhere, the same one with rows of unit norm. */
export function withUnitRows(core: Core): (model: SaeModel) => SaeModel["tensors"] {
	return (model) => core.foldDecoderNorms(model).tensors;
}

/** What a release, its source set and its source are called, as far as the stream doesn't say it. */
import type { Core, SaeModel } from "saeflow";

export interface Given {
	readonly model_id?: string | undefined;
	readonly layer?: number | undefined;
	readonly source_set?: string | undefined;
	readonly release?: string | undefined;
	readonly description: string;
	readonly creator: string;
	readonly creator_id?: string | undefined;
	readonly url: string;
	readonly hf_repo?: string | undefined;
	readonly hf_folder?: string | undefined;
	readonly dataset: string;
	readonly prompt_tokens?: number | undefined;
	readonly explanation_models: boolean;
	readonly created: string;
}

export interface Names {
	readonly given: Given;
	readonly modelId: string;
	readonly layer: number;
	readonly sourceSet: string;
	/** `6-res-jb`: layer and source set. */
	readonly sourceId: string;
	readonly release: string;
	readonly creatorId: string;
	readonly hookName: string;
	/** Width of the activations that the SAE reads. */
	readonly dimension: number;
	/** Rows that the statistics are over. */
	readonly seen: number;
}

/** What a hook point's name ends in, as Neuronpedia's source sets shorten it. */
const PLACES: readonly (readonly [RegExp, string])[] = [
	[/resid/, "res"],
	[/mlp/, "mlp"],
	[/attn/, "att"],
];

/** @throws SaeError for what neither the stream nor the options say. */
export function namesOf(
	{ META, SaeError, EXIT }: Core,
	metadata: ReadonlyMap<string, string>,
	model: SaeModel,
	given: Given,
): Names {
	const kind = metadata.get(META.kind);
	if (kind !== undefined && kind !== "features") {
		throw new SaeError(`--features: is a stream of ${kind}; sae features makes one of features`);
	}
	const said = (key: string, name: string) => metadata.get(key) ?? text(model.metadata[name]);
	const missing = (what: string, option: string) =>
		new SaeError(`neither the features stream nor the SAE says its ${what}; give ${option}`, EXIT.usage);
	const hookName = said(META.hookPoint, "hook_name") ?? "";
	const modelId = given.model_id ?? said(META.model, "model_name")?.split("/").at(-1);
	if (!modelId) throw missing("model", "--model-id");
	const layer = given.layer ?? layerIn(hookName);
	if (layer === undefined) throw missing("layer", "--layer");
	const place = PLACES.find(([pattern]) => pattern.test(hookName))?.[1];
	const sourceSet = given.source_set ?? ["saeflow", place, size(model.d_sae)].filter(Boolean).join("-");
	return {
		given,
		modelId,
		layer,
		sourceSet,
		sourceId: `${layer}-${sourceSet}`,
		release: given.release ?? sourceSet,
		creatorId: given.creator_id ?? given.creator,
		hookName,
		dimension: model.d_in,
		seen: Number(metadata.get(META.seen) ?? 0),
	};
}

function text(value: unknown): string | undefined {
	return typeof value === "string" && value !== "" ? value : undefined;
}

function layerIn(hookName: string): number | undefined {
	const digits = /\d+/.exec(hookName)?.[0];
	return digits === undefined ? undefined : Number(digits);
}

/** `16k` for 16384. */
function size(latents: number): string {
	return latents % 1024 === 0 ? `${latents / 1024}k` : String(latents);
}

/** `cfg.json` from before SAELens 6, as SAELens 6 itself brings it up to date when it loads one. */
import type { Core } from "saeflow";

/** Arrays [d_sae] that such weights may have besides: what codes are multiplied by before they are decoded. */
export const FINETUNED = ["scaling_factor", "finetuning_scaling_factor"];

/** Where a description says that they are meant. */
export const FINETUNES = "finetuning_scaling_factor";

/** Keys that say how the SAE encodes; the rest is provenance. */
const INFERENCE = [
	"architecture",
	"d_in",
	"d_sae",
	"dtype",
	"device",
	"apply_b_dec_to_input",
	"normalize_activations",
	"activation_fn",
	"activation_fn_str",
	"activation_fn_kwargs",
	"hook_point",
	"hook_point_head_index",
	"hook_layer",
	"hook_point_layer",
];

/**
 * The same in the layout of version 6, without a version: nothing else of it is checked.
 * @throws SaeError for activations that SAELens 6 has no architecture for.
 */
export function upgraded(
	given: Readonly<Record<string, unknown>>,
	{ SaeError, z }: Core,
	file: string,
): Record<string, unknown> {
	// It wrote null for what nobody had set.
	const cfg = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null));
	const hook_name = cfg.hook_name ?? cfg.hook_point;
	const activation = cfg.activation_fn ?? cfg.activation_fn_str ?? "relu";
	if (activation !== "relu" && activation !== "topk") {
		throw new SaeError(`${file}: activation_fn ${activation} can't be run; relu and topk can`);
	}
	const architecture = activation === "topk" ? "topk" : (cfg.architecture ?? "standard");
	const { normalize_activations: normalised = "none" } = cfg;
	const k = z.object({ k: z.unknown() }).safeParse(cfg.activation_fn_kwargs).data?.k ?? cfg.k;
	const rest = Object.entries(cfg).filter(([key]) => !INFERENCE.includes(key));
	return {
		architecture,
		d_in: cfg.d_in,
		d_sae: cfg.d_sae,
		dtype: cfg.dtype,
		apply_b_dec_to_input: cfg.apply_b_dec_to_input,
		normalize_activations:
			typeof normalised === "boolean" ? (normalised ? "expected_average_only_in" : "none") : normalised,
		reshape_activations: typeof hook_name === "string" && hook_name.includes("hook_z") ? "hook_z" : "none",
		...(architecture === "topk" ? { k } : {}),
		metadata: { ...Object.fromEntries(rest), hook_name, layer: cfg.hook_layer ?? cfg.hook_point_layer },
	};
}

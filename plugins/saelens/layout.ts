/** What a folder keeps of each architecture: its tensors, exactly these, and its settings in `cfg.json`. */
import type { Core, SaeModel } from "saeflow";

export type Dimension = "d_in" | "d_sae" | "d_out" | number;

export interface Layout {
	readonly tensors: Readonly<Record<string, readonly Dimension[]>>;
	/** Settings an SAE of this architecture needs. */
	readonly settings: readonly string[];
	/** What the SAE in memory calls its architecture, where the file has another name for it. */
	readonly model?: string;
	/** SAELens has no such architecture: the folder has its form, but only saeflow reads it. */
	readonly own?: true;
}

const WEIGHTS = { W_enc: ["d_in", "d_sae"], W_dec: ["d_sae", "d_in"], b_dec: ["d_in"] } as const;
const BIASED = { ...WEIGHTS, b_enc: ["d_sae"] } as const;
const WITH_THRESHOLD = { ...BIASED, threshold: ["d_sae"] } as const;
const TRANSCODER = { ...BIASED, W_dec: ["d_sae", "d_out"], b_dec: ["d_out"] } as const;
const SKIP = { W_skip: ["d_out", "d_in"] } as const;

/** By the name in `cfg.json`. The first ones, and the names, are those of SAELens 6. */
export const LAYOUTS: Readonly<Record<string, Layout>> = {
	standard: { tensors: BIASED, settings: [] },
	topk: { tensors: BIASED, settings: ["k"] },
	jumprelu: { tensors: WITH_THRESHOLD, settings: [] },
	gated: { tensors: { ...WEIGHTS, b_gate: ["d_sae"], b_mag: ["d_sae"], r_mag: ["d_sae"] }, settings: [] },
	transcoder: { tensors: TRANSCODER, settings: [] },
	skip_transcoder: { tensors: { ...TRANSCODER, ...SKIP }, settings: [], model: "transcoder" },
	jumprelu_transcoder: {
		tensors: { ...TRANSCODER, threshold: ["d_sae"] },
		settings: [],
		model: "transcoder",
	},
	jumprelu_skip_transcoder: {
		tensors: { ...TRANSCODER, ...SKIP, threshold: ["d_sae"] },
		settings: [],
		model: "transcoder",
	},
	topk_transcoder: { tensors: TRANSCODER, settings: ["k"], model: "transcoder", own: true },
	topk_skip_transcoder: {
		tensors: { ...TRANSCODER, ...SKIP },
		settings: ["k"],
		model: "transcoder",
		own: true,
	},
	crosscoder: { tensors: { ...TRANSCODER, threshold: ["d_sae"] }, settings: ["sources"], own: true },
	groupmax: { tensors: BIASED, settings: ["k"], own: true },
	"signed-topk": { tensors: BIASED, settings: ["k"], own: true },
};

/**
 * Architectures of checkpoints alone, by the name in `cfg.json`: their latents compete in the whole batch, and a number
 * that training measured stands for that in use.
 */
export const CHECKPOINTS: Readonly<Record<string, Layout>> = {
	batchtopk: { tensors: { ...BIASED, topk_threshold: [] }, settings: ["k"] },
	matryoshka_batchtopk: { tensors: { ...BIASED, topk_threshold: [] }, settings: ["k"] },
};

/**
 * A tensor that any of them may have besides, [layers]: what rows are multiplied by before they are encoded, by the
 * number of their layer.
 */
export const LAYER_SCALE = "layer_scale";

/** Architectures that are transcoders where what they reconstruct is something else than what they encode. */
const TRANSCODING = ["transcoder", "standard", "topk", "jumprelu"];

/** Where an SAE of an architecture that is none of these, e.g. of another package, says in its metadata what it has. */
const OWN_LAYOUT = "saeflow_layout";

/** What a folder keeps of an SAE; undefined for an architecture that nobody described. */
export function layoutOf(
	{ architecture, metadata }: Pick<SaeModel, "architecture" | "metadata">,
	{ z }: Core,
): Layout | undefined {
	if (Object.hasOwn(LAYOUTS, architecture)) return LAYOUTS[architecture];
	if (Object.hasOwn(CHECKPOINTS, architecture)) return CHECKPOINTS[architecture];
	const described = z
		.object({
			tensors: z.record(z.string(), z.array(z.int().min(1))),
			settings: z.array(z.string()),
		})
		.safeParse(metadata[OWN_LAYOUT]);
	return described.success ? { ...described.data, own: true } : undefined;
}

/** The SAE with its layout in its metadata, where its architecture is none of the known ones. */
export function describeLayout(sae: SaeModel): SaeModel {
	if (Object.hasOwn(LAYOUTS, sae.architecture)) return sae;
	const tensors = Object.fromEntries(Object.entries(sae.tensors).map(([name, { shape }]) => [name, shape]));
	const layout = { tensors, settings: Object.keys(sae.settings) };
	return { ...sae, metadata: { ...sae.metadata, [OWN_LAYOUT]: layout } };
}

/** The architecture's name in a file. */
export function nameInFile({ architecture, d_out, metadata, settings, tensors }: SaeModel): string {
	const hasTargets = d_out !== undefined || metadata.target_columns !== undefined;
	const transcodes = hasTargets ? TRANSCODING.includes(architecture) : architecture === "transcoder";
	if (!transcodes) return architecture;
	const transcoder = tensors.W_skip ? "skip_transcoder" : "transcoder";
	if (settings.k !== undefined) return `topk_${transcoder}`;
	return tensors.threshold ? `jumprelu_${transcoder}` : transcoder;
}

/** The architecture's name in memory. */
export function nameInMemory(name: string): string {
	return LAYOUTS[name]?.model ?? name;
}

/** Whether b_dec belongs to targets, so that it can't be taken from the input. */
export function isTranscoder(name: string): boolean {
	return nameInMemory(name) === "transcoder";
}

/** The sizes of a tensor for this SAE. */
export function shapeOf(
	dimensions: readonly Dimension[],
	{ d_in, d_sae, d_out = d_in }: Pick<SaeModel, "d_in" | "d_sae" | "d_out">,
): number[] {
	const sizes = { d_in, d_sae, d_out };
	return dimensions.map((dimension) => (typeof dimension === "number" ? dimension : sizes[dimension]));
}

/** `cfg.json`: reading it strictly and writing it, with the defaults that SAELens 6 has for what is left out. */
import type { Core, FloatType, InputNormalisation, SaeModel } from "saeflow";
import { CHECKPOINTS, isTranscoder, LAYOUTS, layoutOf } from "./layout.ts";
import { upgraded } from "./old.ts";

/** Written where the SAE's metadata names no newer version. Below it, SAELens takes a file for the old layout. */
const LAYOUT_VERSION = "6.0.0";
const NORMALISATIONS: readonly InputNormalisation[] = [
	"none",
	"constant_norm_rescale",
	"layer_norm",
	"expected_average_only_in",
];
/** Those that depend on each row by itself, so that they can't be folded into weights. */
const PER_ROW: readonly InputNormalisation[] = ["constant_norm_rescale", "layer_norm"];
/** SAELens' architectures that encode in a way of their own. */
const UNREADABLE = new Map([
	["matching_pursuit", "takes one latent after another from what is left of a row, which can't be run"],
	["temporal", "encodes a row by those before it, which can't be run"],
]);
/** Architectures that may select by activation times decoder norm. */
const RESCALING = ["topk", "batchtopk", "matryoshka_batchtopk"];

export const DTYPES: Readonly<Record<string, FloatType>> = {
	float32: "f32",
	float16: "f16",
	bfloat16: "bf16",
};

/** An SAE without its tensors. */
export type Description = Omit<SaeModel, "tensors">;

/**
 * The content of `cfg.json`, with the architecture by its name in files. `rescale`: whether decoder norms take part in
 * the selection of a topk SAE.
 */
export function writeCfg(sae: Description, dtype: string, rescale: boolean, core: Core): string {
	const { reshape_activations = "none", ...settings } = sae.settings;
	const cfg = {
		architecture: sae.architecture,
		d_in: sae.d_in,
		d_sae: sae.d_sae,
		...(hasTargets(sae, core) ? { d_out: sae.d_out ?? sae.d_in } : {}),
		dtype,
		device: "cpu",
		apply_b_dec_to_input: sae.apply_b_dec_to_input,
		normalize_activations: sae.normalize_activations,
		reshape_activations,
		...settings,
		...(sae.architecture === "topk" ? { rescale_acts_by_decoder_norm: rescale } : {}),
		metadata: { ...sae.metadata, sae_lens_version: layoutVersion(sae.metadata.sae_lens_version) },
	};
	return `${JSON.stringify(cfg, null, 2)}\n`;
}

/** Whether what is reconstructed may be of another width than the input. */
function hasTargets(sae: Pick<SaeModel, "architecture" | "metadata" | "d_out">, core: Core): boolean {
	return sae.d_out !== undefined || layoutOf(sae, core)!.tensors.b_dec?.includes("d_out") === true;
}

/** @throws SaeError when a setting is missing that the architecture needs, or there is one with no place here. */
export function checkSettings(sae: Description, path: string, core: Core): void {
	const { architecture, settings, apply_b_dec_to_input } = sae;
	const { SaeError } = core;
	if (isTranscoder(architecture) && apply_b_dec_to_input) {
		throw new SaeError(
			`${path}: a transcoder's b_dec belongs to its targets; its input can't have it subtracted`,
		);
	}
	const needed = layoutOf(sae, core)!.settings;
	const missing = needed.find((name) => settings[name] === undefined);
	if (missing) throw new SaeError(`${path}: this ${architecture} SAE lacks the setting ${missing}`);
	const foreign = Object.keys(settings).find(
		(name) => name !== "reshape_activations" && !needed.includes(name),
	);
	if (foreign) throw new SaeError(`${path}: the setting ${foreign} of this SAE has no place in this format`);
}

/**
 * Reads the content of a `cfg.json`; `file` is its path, for messages.
 * @throws SaeError naming the field, for what is missing, wrong, from before SAELens 6, or of no known architecture.
 */
export function readCfg(text: string, file: string, core: Core): Description {
	const { z, SaeError } = core;
	const fail = (problem: string) => new SaeError(`${file}: ${problem}`);
	const found = parseJson(text);
	if (found === undefined) throw fail("is not a JSON object; the file is damaged or not an SAE's");
	// Before version 6 everything lay flat, without metadata of its own.
	const json = found.metadata === undefined ? upgraded(found, core, file) : found;
	const { metadata } = json;
	const version = isObject(metadata) ? metadata.sae_lens_version : undefined;
	if (found === json && !isCurrent(version)) {
		const state = version === undefined ? "is missing" : `is ${JSON.stringify(version)}`;
		throw fail(
			`metadata.sae_lens_version ${state}, so this is the layout of SAELens 5 or older; load and save it with SAELens 6`,
		);
	}

	const size = z.int().min(1);
	const common = z.object({
		architecture: z.string(),
		d_in: size,
		d_sae: size,
		d_out: size.optional(),
		dtype: z.string().default("float32"),
		apply_b_dec_to_input: z.boolean().optional(),
		normalize_activations: z.string().default("none"),
		reshape_activations: z.enum(["none", "hook_z"]).default("none"),
		metadata: z.record(z.string(), z.unknown()),
	});
	const check = <T>(schema: { safeParse(value: unknown): { data?: T; error?: { issues: Issue[] } } }): T => {
		const { data, error } = schema.safeParse(json);
		if (data !== undefined) return data;
		const [issue] = error!.issues;
		throw fail(`field ${issue!.path.join(".")}: ${issue!.message}`);
	};

	const cfg = check(common);
	const layout = layoutOf(cfg, core);
	if (!layout) {
		const why = UNREADABLE.get(cfg.architecture) ?? "is not one that can be read";
		throw fail(
			`architecture "${cfg.architecture}" ${why} (these can be read: ${[...Object.keys(LAYOUTS), ...Object.keys(CHECKPOINTS)].join(", ")})`,
		);
	}
	if (!Object.hasOwn(DTYPES, cfg.dtype.replace("torch.", ""))) {
		throw fail(`dtype "${cfg.dtype}" is none of ${Object.keys(DTYPES).join(", ")}`);
	}
	const normalize_activations = NORMALISATIONS.find((name) => name === cfg.normalize_activations);
	if (!normalize_activations) {
		throw fail(
			`normalize_activations "${cfg.normalize_activations}" is none of ${NORMALISATIONS.join(", ")}`,
		);
	}
	const known = {
		k: size.max(cfg.d_sae),
		sources: size.refine((sources) => cfg.d_in % sources === 0, "must divide d_in"),
		rescale_acts_by_decoder_norm: z.boolean().default(false),
	};
	const setting = z.union([z.number(), z.string(), z.boolean()]);
	const names = [
		...layout.settings,
		...(RESCALING.includes(cfg.architecture) ? ["rescale_acts_by_decoder_norm"] : []),
	];
	const settings = check(
		z.object(Object.fromEntries(names.map((name) => [name, known[name as keyof typeof known] ?? setting]))),
	) as SaeModel["settings"];
	const separate = isTranscoder(cfg.architecture);
	if (separate && PER_ROW.includes(normalize_activations)) {
		throw fail(
			`normalize_activations ${normalize_activations} of a transcoder can't be run: what it reconstructs is not brought back to the size of its input`,
		);
	}
	const d_out =
		(layout.own || layout.tensors.b_dec?.includes("d_out")) && cfg.d_out !== cfg.d_in ? cfg.d_out : undefined;
	if (separate && cfg.apply_b_dec_to_input) {
		throw fail("apply_b_dec_to_input is true, but a transcoder's b_dec belongs to its targets");
	}
	return {
		architecture: cfg.architecture,
		d_in: cfg.d_in,
		...(d_out === undefined ? {} : { d_out }),
		d_sae: cfg.d_sae,
		apply_b_dec_to_input: cfg.apply_b_dec_to_input ?? !separate,
		normalize_activations,
		settings: {
			...settings,
			...(cfg.reshape_activations === "none" ? {} : { reshape_activations: cfg.reshape_activations }),
		},
		metadata: cfg.metadata,
	};
}

interface Issue {
	readonly path: readonly PropertyKey[];
	readonly message: string;
}

function parseJson(text: string): Record<string, unknown> | undefined {
	try {
		const json: unknown = JSON.parse(text);
		return isObject(json) ? json : undefined;
	} catch {
		return undefined;
	}
}

function isObject(value: unknown): value is Record<string, unknown> {
	return typeof value === "object" && value !== null && !Array.isArray(value);
}

function layoutVersion(version: unknown): unknown {
	return isCurrent(version) ? version : LAYOUT_VERSION;
}

function isCurrent(version: unknown): boolean {
	return typeof version === "string" && Number.parseInt(version, 10) >= 6;
}

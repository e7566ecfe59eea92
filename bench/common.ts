/** What benchmarks of a training step have in common: the step and its data. */
import { core } from "../core/api.ts";
import type { TrainingSpec } from "../core/architecture.ts";
import { isSaeError } from "../core/errors.ts";
import { type Gpu, openGpu } from "../core/gpu/device.ts";
import type { ArchitectureContribution } from "../core/plugin.ts";
import { initialise, type ParameterValues } from "../core/train/initialise.ts";
import type { StepShape } from "../core/train/plan.ts";
import type { StepSettings } from "../core/train/step.ts";
import batchtopk from "../plugins/batch-topk.ts";
import topk from "../plugins/topk.ts";

export interface Size {
	readonly d_in: number;
	readonly d_sae: number;
	readonly k: number;
	readonly batch: number;
}

/** Tokens after which a latent would be dead, where none is to be. */
export const NEVER = 0xffffffff;

const PLUGINS = { topk, batchtopk };

export type Select = keyof typeof PLUGINS;

/** As the trainer would have it, AuxK included, unless told. */
export function specOf(
	select: Select,
	{ d_in, d_sae, k }: Size,
	further: { aux_weight?: number } = {},
): TrainingSpec {
	const architecture = PLUGINS[select]
		.contributes(core)
		.find((each): each is ArchitectureContribution => each.kind === "architecture")!;
	return architecture.training(architecture.options.parse({ k, ...further }), { d_in, d_out: d_in, d_sae });
}

export function firstWeights(
	spec: TrainingSpec,
	{ d_in, d_sae }: Size,
	sample: Float32Array,
): ParameterValues {
	return initialise(spec, { d_in, d_out: d_in, d_sae }, { inputs: sample, targets: sample }, 0);
}

export function shapeOf({ d_in, d_sae, batch }: Size, format: StepShape["format"] = "float32"): StepShape {
	return { d_in, d_sae, rows: batch, format, clip: false };
}

export function stepSettings({ d_sae }: Size, update: number): StepSettings {
	return {
		lr: defaultRate(d_sae),
		beta1: 0.9,
		beta2: 0.999,
		epsilon: 1e-8,
		update,
		clip: 0,
		dead_after: NEVER,
		input_scale: 1,
		progress: 0,
	};
}

/** A rate that falls with the width, as Gao et al. found. */
export function defaultRate(d_sae: number): number {
	return 2e-4 / Math.sqrt(d_sae / 2 ** 14);
}

/** A number from −½ to ½ in 24 bits; common.py makes the same ones. Multipliers: C. Wellons, hash-prospector. */
function hashed(i: number, seed: number): number {
	return (scramble(scramble(i) + Math.imul(seed, 0x9e3779b9)) >>> 8) / 2 ** 24 - 0.5;
}

function scramble(value: number): number {
	let x = value ^ (value >>> 16);
	x = Math.imul(x, 0x21f0aaad);
	x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
	return x ^ (x >>> 15);
}

/** Rows of a norm near 1, [rows, width], the same for everyone who asks for this seed. */
export function hashedRows(rows: number, width: number, seed: number): Float32Array {
	const scale = Math.fround(Math.sqrt(12 / width));
	const data = new Float32Array(rows * width);
	for (let i = 0; i < data.length; i++) data[i] = hashed(i, seed) * scale;
	return data;
}

/** Unit rows for the decoder, the same for the encoder, and no biases: where every step of a comparison begins. */
export function hashedWeights({ d_in, d_sae }: Size): ParameterValues {
	const W = hashedRows(d_sae, d_in, SEED.weights);
	for (let at = 0; at < W.length; at += d_in) {
		let square = 0;
		for (let i = at; i < at + d_in; i++) square += W[i]! ** 2;
		const scale = 1 / Math.sqrt(square);
		for (let i = at; i < at + d_in; i++) W[i]! *= scale;
	}
	return { W_enc: W, W_dec: W, b_enc: new Float32Array(d_sae), b_dec: new Float32Array(d_in) };
}

export const SEED = { weights: 1, rows: 2 };

/** Whole numbers of a flag like `1024,4096`. */
export function numbers(flag: string, text: string): number[] {
	return text.split(",").map((each) => {
		const value = Number(each);
		if (!Number.isInteger(value) || value < 1)
			throw new Error(`--${flag} ${text}: must be whole numbers from 1`);
		return value;
	});
}

export function number(flag: string, text: string): number {
	return numbers(flag, text)[0]!;
}

const log = {
	info() {},
	progress() {},
	debug() {},
	warn: (message: string) => console.error(message),
};

/** A device; where there is none of the kind that was asked for, the process ends with a line that says so. */
export async function openDevice(): Promise<Gpu> {
	try {
		return await openGpu(log);
	} catch (error) {
		if (!isSaeError(error)) throw error;
		console.error(error.message);
		process.exit(error.exitCode);
	}
}

/** Flags of sizes, which may be lists. */
export const SIZE_OPTIONS = {
	"d-in": { type: "string", default: "768" },
	"d-sae": { type: "string", default: "32768" },
	k: { type: "string", default: "32" },
	batch: { type: "string", default: "4096,8192" },
} as const;

/** Every combination of what the flags list. */
export function sizesOf(values: Readonly<Record<keyof typeof SIZE_OPTIONS, string>>): Size[] {
	const of = (flag: keyof typeof SIZE_OPTIONS) => numbers(flag, values[flag]);
	return of("d-in").flatMap((d_in) =>
		of("d-sae").flatMap((d_sae) =>
			of("k").flatMap((k) => of("batch").map((batch) => ({ d_in, d_sae, k, batch }))),
		),
	);
}

export function selectOf(text: string): Select {
	if (Object.hasOwn(PLUGINS, text)) return text as Select;
	throw new Error(`--select ${text}: must be ${Object.keys(PLUGINS).join(" or ")}`);
}

/** The TopK step that benchmarks time, as the trainer would make it but without AuxK unless asked for. */
import { core } from "../core/api.ts";
import type { TrainingSpec } from "../core/architecture.ts";
import { isSaeError } from "../core/errors.ts";
import { type Gpu, openGpu } from "../core/gpu/device.ts";
import type { ArchitectureContribution } from "../core/plugin.ts";
import { CounterRng } from "../core/random.ts";
import { initialise, type ParameterValues } from "../core/train/initialise.ts";
import { type StepSettings, TrainStep } from "../core/train/step.ts";
import topk from "../plugins/topk.ts";

export interface Size {
	readonly d_in: number;
	readonly d_sae: number;
	readonly k: number;
	readonly batch: number;
}

/** Tokens after which a latent would be dead, where none is to be. */
export const NEVER = 0xffffffff;

const ARCHITECTURE = topk
	.contributes(core)
	.find((each): each is ArchitectureContribution => each.kind === "architecture")!;

export function topkSpec({ d_in, d_sae, k }: Size, aux_weight = 0): TrainingSpec {
	const options = ARCHITECTURE.options.parse({ k, aux_weight });
	return ARCHITECTURE.training(options, { d_in, d_out: d_in, d_sae });
}

export function firstWeights(
	spec: TrainingSpec,
	{ d_in, d_sae }: Size,
	sample: Float32Array,
): ParameterValues {
	return initialise(spec, { d_in, d_out: d_in, d_sae }, { inputs: sample, targets: sample }, 0);
}

export function makeStep(
	gpu: Gpu,
	spec: TrainingSpec,
	{ d_in, d_sae, batch }: Size,
	format: "float32" | "float16" = "float32",
): Promise<TrainStep> {
	return TrainStep.create(gpu, spec, { d_in, d_sae, rows: batch, format, clip: false });
}

/** The learning rate that Gao et al. scale with the width, unless told; `input_scale` brings rows to norm 1 or so. */
export function stepSettings({ d_in, d_sae }: Size, update: number): StepSettings {
	return {
		lr: defaultRate(d_sae),
		beta1: 0.9,
		beta2: 0.999,
		epsilon: 1e-8,
		update,
		clip: 0,
		dead_after: NEVER,
		input_scale: 1 / Math.sqrt(d_in),
		progress: 0,
	};
}

export function defaultRate(d_sae: number): number {
	return 2e-4 / Math.sqrt(d_sae / 2 ** 14);
}

/** Uniform rows of variance near 1, so that selections spread over the latents as they do in use. */
export function uniformRows(rows: number, width: number, seed = 1): Float32Array {
	const rng = new CounterRng(seed);
	const data = new Float32Array(rows * width);
	for (let i = 0; i < data.length; i++) data[i] = (rng.u32(i) / 2 ** 31 - 1) * 1.7;
	return data;
}

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

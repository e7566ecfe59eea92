/** One SAE of a run: how it starts, and what becomes of it. */
import type { Checkpoint, Context, Core, SaeJob, SaeModel, TrainingSpec, TrainJob, TrainStep } from "saeflow";
import type { TrainerOptions } from "../trainer.ts";
import { sizesOf, type TrainingRows, type Widths } from "./data.ts";
import { dataScales, type Scales, scaledRows } from "./scales.ts";
import { defaultLearningRate } from "./schedule.ts";

/** One SAE in training. */
export interface Trainee {
	readonly job: SaeJob;
	readonly spec: TrainingSpec;
	readonly step: TrainStep;
	readonly lr: number;
}

type Gpu = Awaited<ReturnType<Context["gpu"]>>;

/** What is asked of the device for an SAE on rows of these widths. */
function planned(core: Core, job: SaeJob, widths: Widths, options: TrainerOptions) {
	const { d_in, d_out } = sizesOf(widths);
	const spec = job.describe({ d_in, d_out });
	const refuse = (message: string): never => {
		throw core.usageError(message);
	};
	if ((job.target_l0 ?? options.target_l0) !== undefined && spec.sparsity === undefined) {
		refuse(
			`--target-l0 needs an architecture with a sparsity coefficient; ${job.architecture} sets its l0 by options of its own`,
		);
	}
	if (widths.targets && spec.apply_b_dec_to_input) {
		refuse(
			`${job.architecture} takes the centre of what it reconstructs from its inputs, so it can't have a --target: use one that doesn't, such as transcoder`,
		);
	}
	if (options.resample_every > 0 && spec.loss.some(({ select }) => select.kind === "product_keys")) {
		refuse(`latents of ${job.architecture} share their encoders, so none can start again (--resample-every)`);
	}
	if (options.resample_every > 0 && spec.decoder) {
		refuse(
			`the decoder of ${job.architecture} is made of others, so no latent can start again (--resample-every)`,
		);
	}
	for (const side of [widths.inputs, widths.targets ?? []]) {
		const { norm_blocks } = spec;
		const equal = side.length === norm_blocks && side.every((width) => width === side[0]);
		if (norm_blocks !== undefined && side.length > 1 && !equal) {
			refuse(
				`${job.architecture} has ${norm_blocks} sources of one width, but the columns' widths are ${side.join(", ")}`,
			);
		}
	}
	const shape = {
		d_in,
		d_out: widths.targets && d_out,
		d_sae: job.d_sae,
		rows: options.batch_size,
		microRows: options.micro_batch_size,
		clip: options.clip > 0,
		tilted: options.tilt > 0,
		averaged: options.ema > 0,
	};
	return { spec, shape };
}

/** About how many bytes of device memory an SAE takes in training on rows of these widths. */
export async function memoryOf(
	core: Core,
	job: SaeJob,
	widths: Widths,
	options: TrainerOptions,
	context: Context,
): Promise<number> {
	const { spec, shape } = planned(core, job, widths, options);
	return core.trainingBytes(await context.gpu(), spec, { ...shape, format: "float32" });
}

export async function prepare(
	core: Core,
	gpu: Gpu,
	job: SaeJob,
	options: TrainerOptions,
	rows: TrainingRows,
	scales: Scales,
	checkpoint: Checkpoint | undefined,
	deadAfter: number,
): Promise<Trainee> {
	const sizes = { ...sizesOf(rows.widths), d_sae: job.d_sae };
	if (job.initial) checkInitial(core, job.initial, sizes, scales);
	const { spec, shape } = planned(core, job, rows.widths, options);
	const data = dataScales(scales);
	const each = (scale: number | Float32Array) => (typeof scale === "number" ? undefined : scale);
	const step = await core.createTrainStep(gpu, spec, {
		...shape,
		format: rows.type,
		rowScales: scales.layers !== undefined,
		columnScales: each(data.input),
		targetScales: scales.targets && each(data.target),
	});
	const lr = job.lr ?? options.lr ?? defaultLearningRate(job.d_sae);
	const values = checkpoint
		? await checkpoint.arrays(job.name)
		: job.initial
			? core.parametersOf(spec, sizes, job.initial, data, job.restore)
			: core.initialise(spec, sizes, scaledRows(core, rows.sample, scales), job.seed ?? options.seed);
	step.restore(values, deadAfter);
	return { job, spec, step, lr };
}

function checkInitial(
	{ usageError }: Core,
	{ d_in, d_out = d_in, d_sae, tensors }: SaeModel,
	sizes: { readonly d_in: number; readonly d_out: number; readonly d_sae: number },
	scales: Scales,
): void {
	const text = (of: typeof sizes) =>
		`d_in ${of.d_in}, ${of.d_out === of.d_in ? "" : `d_out ${of.d_out}, `}d_sae ${of.d_sae}`;
	const [before, now] = [text({ d_in, d_out, d_sae }), text(sizes)];
	if (before !== now) throw usageError(`--init-from holds an SAE of ${before}; this run is ${now}`);
	if ((tensors.layer_scale !== undefined) !== (scales.layers !== undefined)) {
		throw usageError(
			tensors.layer_scale
				? "--init-from holds an SAE of several layers with a scale each; go on with --per-layer"
				: "--init-from holds an SAE without scales for layers; go on without --per-layer",
		);
	}
}

/** The SAE as it is after `updates`, on raw activations. */
export async function finished(
	core: Core,
	run: {
		readonly job: TrainJob;
		readonly options: TrainerOptions;
		readonly context: Context;
		readonly rows: TrainingRows;
		readonly scales: Scales;
	},
	{ job, spec, step, lr }: Trainee,
	updates: number,
): Promise<SaeModel> {
	const { options, rows, scales } = run;
	const { d_in, d_out } = sizesOf(rows.widths);
	const { inputs, targets, layers } = rows.columns;
	const model = await core.finishModel(
		step,
		spec,
		{
			architecture: job.architecture,
			d_in,
			...(d_out === d_in ? {} : { d_out }),
			d_sae: job.d_sae,
			apply_b_dec_to_input: spec.apply_b_dec_to_input,
			settings: job.settings,
			metadata: {
				...core.origin(run.job.stream.schema),
				input_columns: inputs,
				...(targets && { target_columns: targets }),
				...(layers !== undefined && { layers }),
				training_command: run.context.command,
				training_tokens: updates * options.batch_size,
				training_options: {
					...options,
					lr,
					seed: job.seed ?? options.seed,
					target_l0: job.target_l0 ?? options.target_l0,
				},
				architecture_options: job.options,
			},
		},
		dataScales(scales),
		job.finish,
	);
	if (!scales.layers) return model;
	// It belongs to rows, not to weights, so that it can't be folded into them.
	const layer_scale = { shape: [scales.layers.length], data: Float32Array.from(scales.layers) };
	return { ...model, tensors: { ...model.tensors, layer_scale } };
}

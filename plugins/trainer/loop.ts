/** The loop: batches in, updates on the device, metrics and checkpoints out. */
import type {
	Checkpoint,
	Context,
	Core,
	SaeJob,
	StepReport,
	TrainingSpec,
	TrainJob,
	TrainStep,
} from "saeflow";
import type { TrainerOptions } from "../trainer.ts";
import { type Batch, openRows, rmsScale, type TrainingRows, toFloat32 } from "./data.ts";
import { evaluateHeldOut, type HeldOutFigures, totalVariance } from "./held-out.ts";
import { Meter, progressLine } from "./progress.ts";
import { isResamplingDue, restartDead } from "./resample.ts";
import { checkSameRun, settingsOfRun } from "./resume.ts";
import { deadThreshold, defaultLearningRate, learningRateShare } from "./schedule.ts";
import { until } from "./until.ts";

/** Steps after which the host looks whether the device keeps up, and how many such looks may be outstanding. */
const LOOK_EVERY = 4;
const LOOKS_IN_FLIGHT = 2;

/** One SAE in training. */
interface Trainee {
	readonly job: SaeJob;
	readonly spec: TrainingSpec;
	readonly step: TrainStep;
	readonly lr: number;
	readonly inputScale: number;
}

/** Everything that stays the same through the loop. */
interface Run {
	readonly core: Core;
	readonly job: TrainJob;
	readonly options: TrainerOptions;
	readonly context: Context;
	readonly rows: TrainingRows;
	/** Those that have not diverged. */
	readonly trainees: Trainee[];
	/** Updates of the whole run, when that is known. */
	readonly steps: number | undefined;
	readonly deadAfter: number;
	readonly device: string;
	readonly variance: number;
}

export async function trainAll(
	core: Core,
	job: TrainJob,
	options: TrainerOptions,
	context: Context,
): Promise<void> {
	const gpu = await context.gpu();
	const device = `${gpu.info.provider}: ${gpu.info.description || gpu.info.device}`;
	const checkpoint = job.resume ? await core.openCheckpoint(job.checkpoint) : undefined;
	const opened: Trainee[] = [];
	try {
		if (checkpoint) checkSameRun(core, job, options, checkpoint.state, device, context.log);
		const saes = job.saes.filter(({ name }) => !checkpoint || name in checkpoint.state.input_scale);
		const rows = await openRows(
			core,
			job,
			options,
			checkpoint && {
				position: checkpoint.state.position,
				heldOut: checkpoint.held_out,
				width: (await checkpoint.arrays(saes[0]!.name)).b_dec!.length,
			},
			context.signal,
		);
		const steps = options.tokens === undefined ? undefined : Math.floor(options.tokens / options.batch_size);
		if (steps === 0) {
			throw core.usageError(
				`--tokens ${options.tokens} is less than one batch of ${options.batch_size} rows`,
			);
		}
		const deadAfter = deadThreshold(options);
		for (const sae of saes) opened.push(await prepare(core, gpu, sae, options, rows, checkpoint, deadAfter));
		for (const sae of job.saes) {
			if (!saes.includes(sae)) job.diverged?.(sae.name, checkpoint!.state.step);
		}
		const variance = totalVariance(rows.heldOut, rows.width);
		const run = {
			core,
			job,
			options,
			context,
			rows,
			trainees: [...opened],
			steps,
			deadAfter,
			device,
			variance,
		};
		await loop(run, checkpoint?.state.step ?? 0, checkpoint?.state.position ?? 0);
	} finally {
		for (const { step } of opened) step.close();
		await checkpoint?.close();
	}
}

/** What is asked of the device for an SAE on rows of this width. */
function planned(core: Core, job: SaeJob, width: number, options: TrainerOptions) {
	const spec = job.describe({ d_in: width, d_out: width });
	if ((job.target_l0 ?? options.target_l0) !== undefined && spec.sparsity === undefined) {
		throw core.usageError(
			`--target-l0 needs an architecture with a sparsity coefficient; ${job.architecture} sets its l0 by options of its own`,
		);
	}
	const shape = {
		d_in: width,
		d_sae: job.d_sae,
		rows: options.batch_size,
		clip: options.clip > 0,
		tilted: options.tilt > 0,
		averaged: options.ema > 0,
	};
	return { spec, shape };
}

/** About how many bytes of device memory an SAE takes in training on rows of this width. */
export async function memoryOf(
	core: Core,
	job: SaeJob,
	width: number,
	options: TrainerOptions,
	context: Context,
): Promise<number> {
	const { spec, shape } = planned(core, job, width, options);
	return core.trainingBytes(await context.gpu(), spec, { ...shape, format: "float32" });
}

async function prepare(
	core: Core,
	gpu: Awaited<ReturnType<Context["gpu"]>>,
	job: SaeJob,
	options: TrainerOptions,
	rows: TrainingRows,
	checkpoint: Checkpoint | undefined,
	deadAfter: number,
): Promise<Trainee> {
	const { width } = rows;
	const sizes = { d_in: width, d_out: width, d_sae: job.d_sae };
	if (job.initial && (job.initial.d_in !== width || job.initial.d_sae !== job.d_sae)) {
		throw core.usageError(
			`--init-from holds an SAE of d_in ${job.initial.d_in}, d_sae ${job.initial.d_sae}; this run is d_in ${width}, d_sae ${job.d_sae}`,
		);
	}
	const { spec, shape } = planned(core, job, width, options);
	const step = await core.createTrainStep(gpu, spec, { ...shape, format: rows.type });
	const lr = job.lr ?? options.lr ?? defaultLearningRate(job.d_sae);
	if (checkpoint) {
		step.restore(await checkpoint.arrays(job.name), deadAfter);
		return { job, spec, step, lr, inputScale: checkpoint.state.input_scale[job.name]! };
	}
	const inputScale = options.normalize === "rms" ? rmsScale(core, rows.sample, width) : 1;
	const scaled = rows.sample.map((value) => value * inputScale);
	const values = job.initial
		? core.parametersOf(spec, sizes, job.initial, inputScale, job.restore)
		: core.initialise(spec, sizes, { inputs: scaled, targets: scaled }, job.seed ?? options.seed);
	step.restore(values, deadAfter);
	return { job, spec, step, lr, inputScale };
}

async function loop(run: Run, firstStep: number, firstPosition: number): Promise<void> {
	const { core, job, options, context, rows, steps } = run;
	const meter = new Meter(firstStep);
	const looks: Promise<void>[] = [];
	const failed = new AbortController();
	const settle = async (most: number) => {
		while (looks.length > most) await looks.shift();
	};
	let step = firstStep;
	let position = firstPosition;
	let evaluatedAt = firstStep;
	let savedAt = performance.now();
	const save = async () => {
		await settle(0);
		await finiteReports(run, step);
		if (run.trainees.length === 0) return;
		await core.writeCheckpoint(
			job.checkpoint,
			{
				step,
				position,
				device: run.device,
				settings: settingsOfRun(job, options),
				input_scale: Object.fromEntries(run.trainees.map(({ job, inputScale }) => [job.name, inputScale])),
			},
			rows.heldOut,
			Object.fromEntries(run.trainees.map(({ job, step }) => [job.name, step])),
		);
		savedAt = performance.now();
	};
	try {
		if (steps === undefined || step < steps) {
			for await (const batch of until(rows.batches, failed.signal)) {
				const logged = (step + 1) % options.log_every === 0 || step + 1 === steps;
				for (const trainee of run.trainees) {
					await reallocate(trainee, step);
					trainee.step.run({ inputs: batch.data }, settingsAt(run, trainee, step), logged);
				}
				step++;
				position = batch.position + batch.rows;
				const evaluated = rows.heldOut.length > 0 && (step % options.eval_every === 0 || step === steps);
				if (evaluated) evaluatedAt = step;
				if (logged || evaluated || step % LOOK_EVERY === 0) {
					const looked = look(run, step, { logged: logged || evaluated, evaluated }, meter);
					looked.catch(() => failed.abort());
					looks.push(looked);
					await settle(evaluated ? 0 : LOOKS_IN_FLIGHT);
				}
				if (isResamplingDue(options, step, steps)) {
					await settle(0);
					for (const trainee of run.trainees) await resample(run, trainee, batch, step);
				}
				if (step === steps || context.signal.aborted || run.trainees.length === 0) break;
				if (isCheckpointDue(options, step, savedAt)) await save();
			}
		}
		await settle(0);
		const ended = !context.signal.aborted && evaluatedAt < step;
		if (ended && rows.heldOut.length > 0) await look(run, step, { logged: true, evaluated: true }, meter);
	} catch (error) {
		// The look that failed says why; the others would only repeat it.
		await Promise.allSettled(looks);
		throw error;
	}
	if (steps !== undefined && step < steps && !context.signal.aborted) {
		context.log.warn(
			`the stream ended after ${step * options.batch_size} of ${options.tokens} rows, before the learning rate had come down; give the source more --epochs`,
		);
	}
	await save();
	for (const trainee of run.trainees) await trainee.job.save(await finished(run, trainee, step));
}

function settingsAt(run: Run, trainee: Trainee, step: number): Parameters<TrainStep["run"]>[1] {
	const { options, steps, deadAfter } = run;
	return {
		lr: trainee.lr * learningRateShare(step, steps, options),
		beta1: options.beta1,
		beta2: options.beta2,
		epsilon: options.epsilon,
		update: step + 1,
		clip: options.clip,
		dead_after: deadAfter,
		input_scale: trainee.inputScale,
		progress: steps === undefined ? 1 : step / steps,
		target_l0: trainee.job.target_l0 ?? options.target_l0,
		tilt: options.tilt,
		ema: options.ema,
		seed: trainee.job.seed ?? options.seed,
	};
}

/** Codes are shared out anew, where the description does so: from how often each latent has fired of late. */
async function reallocate({ spec, step }: Trainee, updates: number): Promise<void> {
	if (!spec.allocation || updates % spec.allocation.every !== 0) return;
	step.allocate(spec.allocation.plan((await step.readArray("density")) as Float32Array));
}

async function resample(
	run: Run,
	{ job, step, inputScale }: Trainee,
	batch: Batch,
	updates: number,
): Promise<void> {
	const { core, options, rows, deadAfter, context } = run;
	const state = Object.fromEntries(
		await Promise.all(step.arrays.map(async (name) => [name, await step.readArray(name)] as const)),
	);
	const errors = await step.rowErrors();
	const random = new core.CounterRng(job.seed ?? options.seed).derive(updates);
	const count = restartDead(state, {
		rows: toFloat32([batch]).map((value) => value * inputScale),
		errors,
		width: rows.width,
		deadAfter,
		random,
	});
	if (count === 0) return;
	step.restore(state, deadAfter);
	context.log.debug(`${job.name}: ${count} dead latents start again at step ${updates}`);
}

/** Reads what the step that was just enqueued measured, and reports it when it is a logged one. */
async function look(
	run: Run,
	step: number,
	what: { readonly logged: boolean; readonly evaluated: boolean },
	meter: Meter,
): Promise<void> {
	const { job, options, rows } = run;
	const reports = await finiteReports(run, step);
	if (!what.logged) return;
	const rate = meter.rate(step) * options.batch_size;
	for (const [trainee, report] of reports) {
		const settings = settingsAt(run, trainee, step - 1);
		const heldOut: HeldOutFigures | undefined = what.evaluated
			? await evaluateHeldOut(
					trainee.step,
					rows.heldOut,
					{ width: rows.width, batchSize: options.batch_size },
					run.variance,
					settings,
				)
			: undefined;
		const metrics = {
			sae: trainee.job.name,
			step,
			tokens: step * options.batch_size,
			loss: report.loss,
			fvu: report.fvu,
			l0: report.l0,
			dead: report.dead / trainee.job.d_sae,
			eval_fvu: heldOut?.fvu ?? null,
			eval_l0: heldOut?.l0 ?? null,
			lr: settings.lr,
			rate,
			seconds: meter.seconds(),
		};
		await job.report(metrics);
		run.context.log.progress(progressLine(metrics, run.steps, run.trainees.length > 1));
	}
}

/**
 * What the last step measured for every SAE. One whose loss was not finite leaves the run, where the job allows it;
 * else this throws, and nothing may be saved any more.
 */
async function finiteReports(run: Run, step: number): Promise<[Trainee, StepReport][]> {
	const { core, job, trainees } = run;
	const reports = await Promise.all(
		trainees.map(async (trainee): Promise<[Trainee, StepReport]> => [trainee, await trainee.step.report()]),
	);
	const [stopped, finite] = [true, false].map((is) => reports.filter(([, { stopped }]) => stopped === is));
	if (stopped!.length === 0 || job.diverged) {
		for (const [trainee] of stopped!) leave(run, trainee, step);
		return finite!;
	}
	throw new core.SaeError(
		`the loss stopped being finite by step ${step}: try a lower --lr or --clip 1; ${job.checkpoint} keeps the last good state, if one was written`,
		core.EXIT.diverged,
	);
}

function leave({ job, trainees }: Run, trainee: Trainee, step: number): void {
	const at = trainees.indexOf(trainee);
	// Another look may have seen it already.
	if (at < 0) return;
	trainees.splice(at, 1);
	job.diverged?.(trainee.job.name, step);
}

function isCheckpointDue(options: TrainerOptions, step: number, savedAt: number): boolean {
	const { checkpoint_every, checkpoint_minutes } = options;
	if (checkpoint_every > 0 && step % checkpoint_every === 0) return true;
	return checkpoint_minutes > 0 && performance.now() - savedAt > checkpoint_minutes * 60_000;
}

function finished(run: Run, { job, spec, step, lr, inputScale }: Trainee, updates: number) {
	const { core, options, rows, context } = run;
	return core.finishModel(
		step,
		spec,
		{
			architecture: job.architecture,
			d_in: rows.width,
			d_sae: job.d_sae,
			apply_b_dec_to_input: spec.apply_b_dec_to_input,
			settings: job.settings,
			metadata: {
				...core.origin(run.job.stream.schema),
				training_command: context.command,
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
		{ input: inputScale, target: inputScale },
		job.finish,
	);
}

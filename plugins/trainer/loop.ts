/** The loop: batches in, updates on the device, metrics and checkpoints out. */
import type { Context, Core, StepReport, StepRows, TrainJob, TrainStep, WholeRows } from "saeflow";
import type { TrainerOptions } from "../trainer.ts";
import { type Batch, openRows, sizesOf, type TrainingRows, wholeRows } from "./data.ts";
import { evaluateHeldOut, type HeldOut, totalVariance } from "./held-out.ts";
import { Meter, progressLine } from "./progress.ts";
import { isResamplingDue, restartDead } from "./resample.ts";
import { checkSameRun, settingsOfRun } from "./resume.ts";
import { measureScales, rowScales, type Scales, scaledRows } from "./scales.ts";
import { deadThreshold, learningRateShare } from "./schedule.ts";
import { finished, prepare, type Trainee } from "./trainee.ts";
import { until } from "./until.ts";

/** Steps after which the host looks whether the device keeps up, and how many such looks may be outstanding. */
const LOOK_EVERY = 4;
const LOOKS_IN_FLIGHT = 2;

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
	readonly scales: Scales;
	readonly heldOut: HeldOut;
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
		const saes = job.saes.filter(({ name }) => !checkpoint || checkpoint.state.saes.includes(name));
		const rows = await openRows(
			core,
			job,
			options,
			checkpoint && {
				position: checkpoint.state.position,
				heldOut: checkpoint.held_out,
				scales: checkpoint.state.scales,
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
		const scales =
			checkpoint?.state.scales ?? measureScales(core, rows.sample, rows.widths, rows.columns, options);
		for (const sae of saes) {
			opened.push(await prepare(core, gpu, sae, options, rows, scales, checkpoint, deadAfter));
		}
		for (const sae of job.saes) {
			if (!saes.includes(sae)) job.diverged?.(sae.name, checkpoint!.state.step);
		}
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
			scales,
			heldOut: heldOutOf(core, rows, scales, options.batch_size),
		};
		await loop(run, checkpoint?.state.step ?? 0, checkpoint?.state.position ?? 0);
	} finally {
		for (const { step } of opened) step.close();
		await checkpoint?.close();
	}
}

/** Held-out rows in batches. */
function heldOutOf(core: Core, rows: TrainingRows, scales: Scales, size: number): HeldOut {
	const { inputs, targets, layers } = rows.heldOut;
	const { d_in, d_out } = sizesOf(rows.widths);
	const byRow = rowScales(core, scales, layers);
	const batches = Array.from({ length: inputs.length / d_in / size }, (_, batch) => {
		const first = batch * size;
		return {
			inputs: inputs.subarray(first * d_in, (first + size) * d_in),
			targets: targets?.subarray(first * d_out, (first + size) * d_out),
			scales: byRow?.subarray(first, first + size),
		};
	});
	return { batches, variance: totalVariance(scaledRows(core, rows.heldOut, scales).targets, d_out) };
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
				saes: run.trainees.map(({ job }) => job.name),
				scales: run.scales,
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
				const arrived = stepRows(run, batch);
				for (const trainee of run.trainees) {
					await reallocate(trainee, step);
					trainee.step.run(arrived, settingsAt(run, trainee, step), logged);
				}
				step++;
				position = batch.position + batch.rows;
				const evaluated =
					run.heldOut.batches.length > 0 && (step % options.eval_every === 0 || step === steps);
				if (evaluated) evaluatedAt = step;
				if (logged || evaluated || step % LOOK_EVERY === 0) {
					const looked = look(run, step, { logged: logged || evaluated, evaluated }, meter);
					looked.catch(() => failed.abort());
					looks.push(looked);
					await settle(evaluated ? 0 : LOOKS_IN_FLIGHT);
				}
				if (isResamplingDue(options, step, steps)) {
					await settle(0);
					const seen = wholeRows([batch]);
					for (const trainee of run.trainees) await resample(run, trainee, seen, step);
				}
				if (step === steps || context.signal.aborted || run.trainees.length === 0) break;
				if (isCheckpointDue(options, step, savedAt)) await save();
			}
		}
		await settle(0);
		const ended = !context.signal.aborted && evaluatedAt < step;
		if (ended && run.heldOut.batches.length > 0)
			await look(run, step, { logged: true, evaluated: true }, meter);
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
	for (const trainee of run.trainees) await trainee.job.save(await finished(core, run, trainee, step));
}

function stepRows({ core, scales }: Run, { data, targets, layers }: Batch): StepRows {
	return { inputs: data, targets: targets?.data, scales: rowScales(core, scales, layers) };
}

function settingsAt(run: Run, trainee: Trainee, step: number): Parameters<TrainStep["run"]>[1] {
	const { options, steps, deadAfter, scales } = run;
	// Where there are several columns, each has its scale in the step itself.
	const scale = (columns: Scales["inputs"]) => (columns.length === 1 ? columns[0]!.scale : 1);
	return {
		lr: trainee.lr * learningRateShare(step, steps, options),
		beta1: options.beta1,
		beta2: options.beta2,
		epsilon: options.epsilon,
		update: step + 1,
		clip: options.clip,
		dead_after: deadAfter,
		input_scale: scale(scales.inputs),
		target_scale: scale(scales.targets ?? scales.inputs),
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

async function resample(run: Run, { job, step }: Trainee, batch: WholeRows, updates: number): Promise<void> {
	const { core, options, rows, scales, deadAfter, context } = run;
	const state = Object.fromEntries(
		await Promise.all(step.arrays.map(async (name) => [name, await step.readArray(name)] as const)),
	);
	const errors = await step.rowErrors();
	const random = new core.CounterRng(job.seed ?? options.seed).derive(updates);
	const count = restartDead(state, {
		...scaledRows(core, batch, scales),
		...sizesOf(rows.widths),
		errors,
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
	const { job, options } = run;
	const reports = await finiteReports(run, step);
	if (!what.logged) return;
	const rate = meter.rate(step) * options.batch_size;
	for (const [trainee, report] of reports) {
		const settings = settingsAt(run, trainee, step - 1);
		const heldOut = what.evaluated ? await evaluateHeldOut(trainee.step, run.heldOut, settings) : undefined;
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

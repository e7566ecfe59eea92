/**
 * A training step on the GPU, made from an architecture's description. The description is data; the phases turn it
 * into a list of kernels over fixed buffers, and a step runs the list.
 *
 * Every part of every loss term keeps its own codes and errors. Their rows lie behind each other ("code rows", blocks ·
 * rows), so that one transposition and one pass over the latents serve all terms.
 */
import { type Gpu, GpuError } from "../../kernels/gpu.ts";
import { CONTROL, REPORT } from "../../kernels/loss.ts";
import { ENTRY_BYTES } from "../../kernels/order.ts";
import { profile, type Timing } from "../../kernels/profile.ts";
import { submit } from "../../kernels/program.ts";
import { packStep } from "../../kernels/wgsl.ts";
import type { Selection, TrainingSpec } from "../architecture.ts";
import type { ParameterStore } from "../gpu/parameters.ts";
import { FIRST_ROOM, GROWTH } from "../gpu/select.ts";
import { scheduled } from "../schedule.ts";
import { checkSpec } from "./check-spec.ts";
import { type Batch, freeBatch, type Part, planBatch } from "./micro-batches.ts";
import { lastBlock, microRows, type StepShape } from "./plan.ts";
import { compile, type Pass, type Programs } from "./programs.ts";
import type { Work } from "./work.ts";

/** The numbers that change from step to step. */
export interface StepSettings {
	readonly lr: number;
	readonly beta1: number;
	readonly beta2: number;
	readonly epsilon: number;
	/** Updates made so far, this one included: Adam's t. */
	readonly update: number;
	/** Largest global gradient norm; only read by steps built with `clip`. */
	readonly clip: number;
	/** Tokens without firing after which a latent counts as dead. */
	readonly dead_after: number;
	/** What rows are multiplied by on arrival. */
	readonly input_scale: number;
	/** What targets are multiplied by, where they are others than the inputs; the input's scale unless given. */
	readonly target_scale?: number | undefined;
	/** Share of the run that is done, 0 to 1: drives schedules. */
	readonly progress: number;
	/** Wanted l0, of steps whose description names its sparsity; 0: none. */
	readonly target_l0?: number | undefined;
	/** t of tilted empirical risk; only read by steps built with `tilted`. */
	readonly tilt?: number | undefined;
	/** Decay of the averaged weights; only read by steps built with `averaged`. */
	readonly ema?: number | undefined;
	/** Of what a selection draws at random. */
	readonly seed?: number | undefined;
}

/** Rows as they arrived: float32, or float16 bits, row-major. */
export interface StepRows {
	/** [rows, d_in] */
	readonly inputs: Float32Array | Uint16Array;
	/** [rows, d_out], for steps whose targets are others than the inputs. */
	readonly targets?: Float32Array | Uint16Array | undefined;
	/** [rows], for steps built with `rowScales`. */
	readonly scales?: Float32Array | undefined;
}

/** What a step measured, on its own batch. */
export interface StepReport {
	readonly loss: number;
	/** Each term's share of the loss, without its penalty. */
	readonly terms: Readonly<Record<string, number>>;
	/** Each term's penalty, weight included. */
	readonly penalties: Readonly<Record<string, number>>;
	/** Σ ‖error‖² of the first term, in units of the scaled targets. */
	readonly squaredError: number;
	/** Only for steps run with `measure`. */
	readonly fvu: number | null;
	readonly l0: number;
	/** Latents that count as dead after the step. */
	readonly dead: number;
	/** What the L0 controller multiplies the sparsity's weight by. */
	readonly multiplier: number;
	/** The loss was not finite at this or an earlier step; no parameter has changed since. */
	readonly stopped: boolean;
}

/** Steps that can be run again when their codes found no room. */
const MOST_PENDING = 64;

const STOPPED_FOR_LOSS = 1;
const STOPPED_FOR_ROOM = 2;

/** Codes per row that each latent may have, and the density under which it counts as weak; both [d_sae]. */
export interface Allocated {
	readonly quota?: Float32Array | undefined;
	readonly floor?: Float32Array | undefined;
}

interface Pending {
	readonly rows: StepRows;
	readonly settings: StepSettings;
	readonly measure: boolean;
}

export class TrainStep {
	#batch: Batch;
	#programs: Programs;
	/** Steps that may have to be run again, oldest first: those whose codes nobody has seen to fit. */
	#pending: Pending[] = [];
	/** What has been read is looked at one after the other, for it may take more room and running steps again. */
	#turn: Promise<unknown> = Promise.resolve();

	private constructor(batch: Batch) {
		this.#batch = batch;
		this.#programs = compile(batch);
	}

	/** The batch as a whole, with what its micro-batches have in common. */
	get #work(): Work {
		return this.#batch.whole;
	}

	/** Allocates and compiles. Throws SaeError for a description it can't run, GpuError for what the device refuses. */
	static async create(gpu: Gpu, spec: TrainingSpec, shape: StepShape): Promise<TrainStep> {
		checkSpec(spec, shape, gpu);
		const { d_in, d_sae } = shape;
		const rows = microRows(shape);
		return gpu.checked(
			`training d_sae ${d_sae} at d_in ${d_in} with ${rows} rows at a time`,
			() => new TrainStep(planBatch(gpu, spec, shape, firstRoom(gpu, rows, d_sae))),
		);
	}

	/** Parameters and optimiser state on the device. */
	get parameters(): ParameterStore {
		return this.#work.parameters;
	}

	/**
	 * Enqueues one step. Returns at once. `measure` also computes the batch's variance, for the FVU.
	 */
	run(rows: StepRows, settings: StepSettings, measure: boolean): void {
		this.#work.gpu.check();
		if (this.#work.unbounded) {
			this.#pending.push({ rows: copyRows(rows), settings, measure });
			if (this.#pending.length > MOST_PENDING) this.#pending.shift();
		}
		this.#enqueue(rows, settings, measure);
	}

	/** The first term's figures on one batch of float32 rows, with the parameters as they are. */
	evaluate(rows: StepRows, settings: StepSettings): Promise<StepReport> {
		return this.#inTurn(async () => {
			for (;;) {
				this.#pass(this.#programs.evaluating, { rows, settings: { ...settings, update: 0 } });
				const values = await this.#read();
				if (values[REPORT.needed]! <= this.#work.entries) return this.#reportOf(values);
				await this.#makeRoom(values[REPORT.needed]!);
			}
		});
	}

	/** Enqueues the last step once more, on the same rows and settings: for measuring without uploads. */
	repeat(): void {
		this.#pass(this.#programs.training);
	}

	/** Runs one step on the rows of the last one and says how long each kernel took. */
	profile(): Promise<Timing[]> {
		const passes = this.#programs.training.flatMap(({ parts, whole }) => [
			...parts.flatMap(({ dispatches }) => dispatches),
			...whole,
		]);
		return profile(this.#work.gpu, passes);
	}

	/** Puts a state read from `parameters` back; the list of dead latents follows from it. */
	restore(arrays: Readonly<Record<string, Float32Array | Uint32Array>>, deadAfter: number): void {
		const { gpu, shape, parameters, buffers } = this.#work;
		const { controller, quota, floor, ...stored } = arrays as Readonly<Record<string, Float32Array>>;
		for (const [name, data] of Object.entries(stored)) parameters.write(name, data);
		for (const name of parameters.arrays) {
			// A mean of the weights starts at the weights.
			const base = /^average\.(.*)$/.exec(name)?.[1];
			if (base !== undefined && !(name in stored) && stored[base]) parameters.write(name, stored[base]);
		}
		if (this.#programs.deriving.length > 0) submit(gpu, this.#programs.deriving);
		const dead: number[] = [];
		const flags = new Uint32Array(shape.d_sae);
		for (const [latent, tokens] of (arrays.since ?? []).entries()) {
			const least = floor?.[latent] ?? 0;
			if (least > 0 ? stored.density![latent]! >= least : tokens < deadAfter) continue;
			dead.push(latent);
			flags[latent] = 1;
		}
		gpu.write(buffers.dead, new Uint32Array([dead.length, ...dead]));
		gpu.write(buffers.deadFlags, flags);
		if (this.#work.derived.includes("dead")) {
			const row = parameters.row("dead") as { buffer: GPUBuffer; offset: number };
			gpu.write(row.buffer, Float32Array.from(flags), row.offset);
		}
		this.allocate({ quota, floor });
		const [multiplier = 1, l0 = 0] = controller ?? [];
		gpu.write(buffers.control, Float32Array.of(multiplier, l0), CONTROL.multiplier * 4);
	}

	/** Names of the arrays that {@link readArray} gives and {@link restore} takes: a whole training state. */
	get arrays(): readonly string[] {
		const { sparsity, allocation } = this.#work.spec;
		return [
			...this.parameters.arrays,
			...(sparsity === undefined ? [] : ["controller"]),
			...(allocation === undefined ? [] : ["quota", "floor"]),
		];
	}

	async readArray(name: string): Promise<Float32Array | Uint32Array> {
		const { gpu, buffers, shape } = this.#work;
		if (name === "controller")
			return new Float32Array(await gpu.read(buffers.control, CONTROL.multiplier * 4, 8));
		if (name === "quota" || name === "floor") {
			return new Float32Array(await gpu.read(buffers[name], 0, shape.d_sae * 4));
		}
		return this.parameters.read(name);
	}

	/** Σ error² of each row [rows] of the last step's batch, in the first term. */
	async rowErrors(): Promise<Float32Array> {
		const { gpu, terms, shape, buffers } = this.#work;
		const block = lastBlock(terms[0]!);
		return new Float32Array(await gpu.read(buffers.squared, block * shape.rows * 4, shape.rows * 4));
	}

	/** Quotas and floors of an allocation, both [d_sae]. */
	allocate({ quota, floor }: Allocated): void {
		const { gpu, buffers } = this.#work;
		if (quota) gpu.write(buffers.quota, quota as Float32Array<ArrayBuffer>);
		if (floor) gpu.write(buffers.floor, floor as Float32Array<ArrayBuffer>);
	}

	/** Frees the step's memory; it can't be used afterwards. */
	close(): void {
		this.parameters.close();
		freeBatch(this.#batch);
	}

	/** What the last enqueued step measured; resolves when it has run. */
	report(): Promise<StepReport> {
		const last = this.#pending.at(-1);
		const reading = this.#read();
		let seen = this.#batch;
		return this.#inTurn(async () => {
			let values = await reading;
			while (values[REPORT.stopped] === STOPPED_FOR_ROOM) {
				// Another reader may have seen to it.
				if (seen === this.#batch) await this.#runAgain(values);
				seen = this.#batch;
				values = await this.#read();
			}
			if (last) this.#pending.splice(0, this.#pending.indexOf(last) + 1);
			return this.#reportOf(values);
		});
	}

	#inTurn<T>(work: () => Promise<T>): Promise<T> {
		const done = this.#turn.then(work);
		this.#turn = done.catch(() => {});
		return done;
	}

	#enqueue(rows: StepRows, settings: StepSettings, measure: boolean): void {
		const { training, measuring } = this.#programs;
		this.#pass(measure ? measuring : training, { rows, settings });
	}

	/** Goes through all passes, on new rows or those that are there. */
	#pass(passes: readonly Pass[], given?: { rows: StepRows; settings: StepSettings }): void {
		const { gpu, buffers, shape, common } = this.#work;
		if (given && common) gpu.write(buffers.step, this.#encode(given.settings, shape.rows));
		for (const { clear, parts, whole } of passes) {
			if (clear.length > 0) submit(gpu, [], { clear });
			for (const part of parts) {
				if (given) this.#upload(part, given.rows, given.settings);
				submit(gpu, part.dispatches, part.around);
			}
			if (whole.length > 0) submit(gpu, whole);
		}
	}

	#upload({ work, first }: Part, { inputs, targets, scales }: StepRows, settings: StepSettings): void {
		const { gpu, buffers, shape, layout } = work;
		const own = <T extends Float32Array | Uint16Array>(values: T, width: number) =>
			values.subarray(first * width, (first + shape.rows) * width) as T;
		gpu.writePadded(buffers.raw, own(inputs, layout.d_in));
		if (targets) gpu.writePadded(buffers.rawTargets, own(targets, layout.d_out));
		if (scales) gpu.write(buffers.rowScales, own(scales, 1) as Float32Array<ArrayBuffer>);
		gpu.write(buffers.step, this.#encode(settings, shape.rows));
	}

	/** Goes on with the first step whose codes found no room, once there is enough of it. */
	async #runAgain(values: Float32Array): Promise<void> {
		await this.#makeRoom(values[REPORT.needed]!);
		const first = this.#pending.findIndex(({ settings }) => settings.update === values[REPORT.stoppedAt]);
		if (first < 0) throw new GpuError("the codes of a step found no room, and its rows are gone");
		// Also those that were enqueued since, which changed nothing.
		for (const { rows, settings, measure } of this.#pending.slice(first))
			this.#enqueue(rows, settings, measure);
	}

	async #makeRoom(needed: number): Promise<void> {
		const { gpu, spec, shape, fixedEntries, parameters, buffers } = this.#work;
		const rows = microRows(shape);
		const most = rows * shape.d_sae * this.#work.terms.filter(({ room }) => room === 0).length;
		const capacity = Math.min(most, Math.ceil((needed - fixedEntries) * GROWTH));
		const kept = ["control", "dead", "deadFlags", "quota", "floor"] as const;
		const batch = await gpu.checked(
			`${needed} codes of ${rows} rows, of which most latents are active at the beginning`,
			() => planBatch(gpu, spec, shape, capacity, parameters),
		);
		const work = batch.whole;
		const encoder = gpu.device.createCommandEncoder();
		for (const name of kept) {
			encoder.copyBufferToBuffer(buffers[name], 0, work.buffers[name], 0, buffers[name].size);
		}
		gpu.device.queue.submit([encoder.finish()]);
		gpu.write(work.buffers.control, new Float32Array([0, 0]), CONTROL.stopped * 4);
		freeBatch(this.#batch);
		this.#batch = batch;
		this.#programs = await gpu.checked("a step with more codes", () => compile(batch));
	}

	#encode(settings: StepSettings, rows: number): Uint32Array<ArrayBuffer> {
		const { beta1, beta2, update, progress } = settings;
		const { spec, terms, names } = this.#work;
		const t = Math.max(1, update);
		return packStep({
			...settings,
			rows,
			dead_after: Math.min(settings.dead_after, 0xffffffff),
			correct1: 1 / (1 - beta1 ** t),
			correct2: 1 / Math.sqrt(1 - beta2 ** t),
			k: terms.map(({ select }) => kOf(select, progress)),
			below: terms.flatMap(({ nested }) => {
				if (!nested) return [0];
				return typeof nested.sizes === "function" ? nested.sizes(t) : nested.sizes;
			}),
			scalars: names.scalars.map((name) => scheduled(spec.scalars![name]!, progress)),
			target_scale: settings.target_scale ?? settings.input_scale,
			target_l0: spec.sparsity === undefined ? 0 : (settings.target_l0 ?? 0),
			tilt: settings.tilt ?? 0,
			ema: settings.ema ?? 0,
			seed: settings.seed ?? 0,
		});
	}

	async #read(): Promise<Float32Array> {
		const { gpu, buffers } = this.#work;
		return new Float32Array(await gpu.read(buffers.report, 0, REPORT.length * 4));
	}

	#reportOf(values: Float32Array): StepReport {
		const { terms, shape } = this.#work;
		const variance = values[REPORT.variance]!;
		const byTerm = (first: number) =>
			Object.fromEntries(terms.map((term, t) => [term.name, values[first + t]!]));
		return {
			loss: values[REPORT.loss]!,
			squaredError: values[REPORT.squaredError]!,
			terms: byTerm(REPORT.terms),
			penalties: byTerm(REPORT.penalties),
			fvu: variance > 0 ? values[REPORT.squaredError]! / variance : null,
			// Divided here, for GPUs do not round divisions exactly.
			l0: values[REPORT.kept]! / shape.rows,
			dead: values[REPORT.dead]!,
			multiplier: values[REPORT.multiplier]!,
			stopped: values[REPORT.stopped] === STOPPED_FOR_LOSS,
		};
	}
}

/** Room for codes to begin with, where no binding is too small for it; more is made when it is needed. */
function firstRoom({ maxBinding }: Gpu, rows: number, d_sae: number): number {
	return Math.min(rows * d_sae, rows * FIRST_ROOM, Math.floor(maxBinding / (2 * ENTRY_BYTES)));
}

function kOf(select: Selection, progress: number): number {
	return "k" in select ? Math.round(scheduled(select.k, progress)) : 0;
}

function copyRows({ inputs, targets, scales }: StepRows): StepRows {
	return { inputs: inputs.slice(), targets: targets?.slice(), scales: scales?.slice() };
}

/**
 * A training step on the GPU, made from an architecture's description. The description is data; the phases turn it
 * into a list of kernels over fixed buffers, and a step runs the list.
 *
 * Every loss term keeps its own codes and errors. Their rows lie behind each other ("code rows", terms · rows), so
 * that one transposition and one pass over the latents serve all terms.
 */
import type { Gpu } from "../../kernels/gpu.ts";
import { MAX_TERMS, REPORT } from "../../kernels/loss.ts";
import { profile, type Timing } from "../../kernels/profile.ts";
import { type Dispatch, submit } from "../../kernels/program.ts";
import { MAX_K } from "../../kernels/topk.ts";
import { packStep } from "../../kernels/wgsl.ts";
import type { Schedule, TrainingSpec } from "../architecture.ts";
import { EXIT, SaeError } from "../errors.ts";
import type { ParameterStore } from "../gpu/parameters.ts";
import { decodePhase, encodePhase } from "./phases/forward.ts";
import { lossPhase, measurePhase } from "./phases/loss.ts";
import { biasGradientPhase, clipPhase, livenessPhase, transposePhase, updatePhase } from "./phases/update.ts";
import { largest, planWork, type StepShape, type Work } from "./work.ts";

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
	/** Share of the run that is done, 0 to 1: drives schedules. */
	readonly progress: number;
}

/** What a step measured, on its own batch. */
export interface StepReport {
	readonly loss: number;
	/** Each term's share of the loss. */
	readonly terms: Readonly<Record<string, number>>;
	/** Σ ‖error‖² of the first term, in units of the scaled rows. */
	readonly squaredError: number;
	/** Only for steps run with `measure`. */
	readonly fvu: number | null;
	readonly l0: number;
	/** Latents that count as dead after the step. */
	readonly dead: number;
	/** The loss was not finite at this or an earlier step; no parameter has changed since. */
	readonly stopped: boolean;
}

/** Value of a schedule when `progress` (0 to 1) of the run is done. */
export function scheduled(schedule: Schedule, progress: number): number {
	if (typeof schedule === "number") return schedule;
	const part = schedule.until > 0 ? Math.min(1, progress / schedule.until) : 1;
	return schedule.from + (schedule.to - schedule.from) * part;
}

export class TrainStep {
	readonly #work: Work;
	readonly #program: readonly Dispatch[];
	readonly #measuring: readonly Dispatch[];
	readonly #evaluating: readonly Dispatch[];

	private constructor(work: Work) {
		this.#work = work;
		this.#program = [
			...encodePhase(work),
			...decodePhase(work),
			...lossPhase(work),
			...transposePhase(work),
			...biasGradientPhase(work),
			...(work.shape.clip ? clipPhase(work) : []),
			...updatePhase(work),
			...livenessPhase(work),
		];
		this.#measuring = measurePhase(work);
		const forward: Work = {
			...work,
			shape: { ...work.shape, format: "float32" },
			terms: [work.terms[0]!],
			codeRows: work.shape.rows,
		};
		this.#evaluating = [...encodePhase(forward), ...decodePhase(forward), ...lossPhase(forward)];
	}

	/** Allocates and compiles. Throws SaeError for a description it can't run, GpuError for what the device refuses. */
	static async create(gpu: Gpu, spec: TrainingSpec, shape: StepShape): Promise<TrainStep> {
		checkSpec(spec, shape);
		const { d_in, d_sae, rows } = shape;
		return gpu.checked(
			`training d_sae ${d_sae} at d_in ${d_in} with batches of ${rows} rows`,
			() => new TrainStep(planWork(gpu, spec, shape)),
		);
	}

	/** Parameters and optimiser state on the device. */
	get parameters(): ParameterStore {
		return this.#work.parameters;
	}

	/**
	 * Enqueues one step on `rows` rows, as they arrived: float32, or float16 bits. Returns at once.
	 * `measure` also computes the batch's variance, for the FVU.
	 */
	run(data: Float32Array | Uint16Array, settings: StepSettings, measure: boolean): void {
		const { gpu, buffers } = this.#work;
		gpu.check();
		gpu.writePadded(buffers.raw, data);
		gpu.write(buffers.step, this.#encode(settings));
		submit(gpu, measure ? [...this.#program, ...this.#measuring] : this.#program);
	}

	/** The first term's figures on one batch of float32 rows, with the parameters as they are. */
	async evaluate(data: Float32Array, settings: StepSettings): Promise<StepReport> {
		const { gpu, buffers } = this.#work;
		gpu.write(buffers.raw, data as Float32Array<ArrayBuffer>);
		gpu.write(buffers.step, this.#encode(settings));
		submit(gpu, this.#evaluating);
		return this.report();
	}

	/** Enqueues the last step once more, on the same rows and settings: for measuring without uploads. */
	repeat(): void {
		submit(this.#work.gpu, this.#program);
	}

	/** Runs one step on the rows of the last one and says how long each kernel took. */
	profile(): Promise<Timing[]> {
		return profile(this.#work.gpu, this.#program);
	}

	/** Puts a state read from `parameters` back; the list of dead latents follows from it. */
	restore(arrays: Readonly<Record<string, Float32Array | Uint32Array>>, deadAfter: number): void {
		const { gpu, buffers, parameters } = this.#work;
		for (const [name, data] of Object.entries(arrays)) parameters.write(name, data);
		const dead: number[] = [];
		for (const [latent, tokens] of (arrays.since ?? []).entries()) if (tokens >= deadAfter) dead.push(latent);
		gpu.write(buffers.dead, new Uint32Array([dead.length, ...dead]));
	}

	/** Frees the step's memory; it can't be used afterwards. */
	close(): void {
		const { buffers, parameters } = this.#work;
		for (const buffer of new Set(Object.values(buffers))) buffer.destroy();
		parameters.close();
		for (const buffer of this.#work.further) buffer.destroy();
	}

	#encode(settings: StepSettings): Uint32Array<ArrayBuffer> {
		const { beta1, beta2, update, progress } = settings;
		return packStep({
			...settings,
			rows: this.#work.shape.rows,
			dead_after: Math.min(settings.dead_after, 0xffffffff),
			correct1: 1 / (1 - beta1 ** update),
			correct2: 1 / Math.sqrt(1 - beta2 ** update),
			k: this.#work.terms.map((term) => Math.round(scheduled(term.select.k, progress))),
		});
	}

	/** What the last enqueued step measured; resolves when it has run. */
	async report(): Promise<StepReport> {
		const { gpu, buffers } = this.#work;
		const values = new Float32Array(await gpu.read(buffers.report, 0, REPORT.length * 4));
		const variance = values[REPORT.variance]!;
		return {
			loss: values[REPORT.loss]!,
			squaredError: values[REPORT.squaredError]!,
			terms: Object.fromEntries(this.#work.terms.map((term, t) => [term.name, values[REPORT.terms + t]!])),
			fvu: variance > 0 ? values[REPORT.squaredError]! / variance : null,
			// Divided here, for GPUs do not round divisions exactly.
			l0: values[REPORT.kept]! / this.#work.shape.rows,
			dead: values[REPORT.dead]!,
			stopped: values[REPORT.stopped] !== 0,
		};
	}
}

function checkSpec(spec: TrainingSpec, shape: StepShape): void {
	const refuse = (message: string) => {
		throw new SaeError(message, EXIT.usage);
	};
	if (spec.loss.length > MAX_TERMS)
		refuse(`an architecture can have ${MAX_TERMS} loss terms, not ${spec.loss.length}`);
	const [first] = spec.loss;
	if (first.target !== "input" || first.latents !== "all") {
		refuse("the first loss term must reconstruct the input, from all latents");
	}
	for (const term of spec.loss) {
		const k = largest(term.select.k);
		if (k > MAX_K) refuse(`${term.name}: k ${k} is over the largest supported, ${MAX_K}`);
		if (k > shape.d_sae && term.latents === "all") {
			refuse(`${term.name}: k ${k} is larger than d_sae ${shape.d_sae}`);
		}
		if (term.reduction === "variance" && term.target === "input") {
			refuse(`${term.name}: reduction variance is for the target residual`);
		}
		if (term.target === "residual" && term.bias) refuse(`${term.name}: a residual has no bias`);
	}
}

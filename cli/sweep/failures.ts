/** SAEs of a sweep that fail alone, so that the others are kept. */
import { EXIT, type ExitCode, isSaeError, SaeError } from "../../core/errors.ts";
import type { Logger } from "../../core/plugin.ts";
import type { SaeJob } from "../../core/train/job.ts";

/** What went wrong in a sweep: said at once, and counted for the end. */
export class Failures {
	readonly #log: Logger;
	readonly #saes = new Set<string>();
	#exitCode: ExitCode | undefined;

	constructor(log: Logger) {
		this.#log = log;
	}

	/** @param what is about these SAEs, e.g. `topk-k16: could not be saved`. */
	add(saes: readonly string[], what: string, error: unknown): void {
		for (const sae of saes) this.#saes.add(sae);
		this.#exitCode ??= isSaeError(error) ? error.exitCode : isGpuError(error) ? EXIT.device : EXIT.internal;
		this.#log.warn(`${what}: ${error instanceof Error ? error.message : error}`);
		if (error instanceof Error) this.#log.debug(String(error.stack));
	}

	/** @throws SaeError that names the SAEs that failed, if any did, with the exit code of the first failure. */
	throwIfAny(of: number): void {
		if (this.#exitCode === undefined) return;
		throw new SaeError(
			`${this.#saes.size} of ${of} SAEs failed and ${this.#saes.size === 1 ? "has" : "have"} no row: ` +
				`${[...this.#saes].join(", ")}; the same words with --resume try only what is missing`,
			this.#exitCode,
		);
	}
}

/** A job that tells `failed` when its SAE can't be finished or saved, instead of ending the run of all. */
export function guarded(job: SaeJob, failed: (error: unknown) => void): SaeJob {
	let unfinished = false;
	return {
		...job,
		finish(model) {
			try {
				return job.finish?.(model) ?? model;
			} catch (error) {
				unfinished = true;
				failed(error);
				return model;
			}
		},
		async save(model) {
			if (!unfinished) await job.save(model).catch(failed);
		},
	};
}

/** A job whose SAE is there already, and takes part only because the training state has it. */
export function alreadySaved({ finish: _, ...job }: SaeJob): SaeJob {
	return { ...job, save: async () => {} };
}

/** Failures of the device come from kernels/, which knows nothing of exit codes. */
function isGpuError(error: unknown): boolean {
	return error instanceof Error && error.name === "GpuError";
}

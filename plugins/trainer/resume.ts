/** Whether a checkpoint belongs to the run that is asked for. */
import type { Core, Logger, RunState, TrainJob } from "saeflow";
import type { TrainerOptions } from "../trainer.ts";

/** What decides the bits of a run; how often it logs and saves does not. */
export function settingsOfRun(job: TrainJob, options: TrainerOptions): Record<string, unknown> {
	const {
		log_every: _l,
		eval_every: _e,
		checkpoint_every: _c,
		checkpoint_minutes: _m,
		...deciding
	} = options;
	const saes = job.saes.flatMap(({ name, architecture, options, d_sae, lr, seed, target_l0 }) =>
		Object.entries({ architecture, d_sae, lr, seed, target_l0, ...options }).map(([key, value]) => [
			`${name}: ${key}`,
			value,
		]),
	);
	const { columns, targets, layers } = job;
	return JSON.parse(
		JSON.stringify({ ...deciding, column: columns, target: targets, layers, ...Object.fromEntries(saes) }),
	);
}

/** Throws when the run of a checkpoint was started with other settings; warns when on another device. */
export function checkSameRun(
	core: Core,
	job: TrainJob,
	options: TrainerOptions,
	state: RunState,
	device: string,
	log: Logger,
): void {
	const now = settingsOfRun(job, options);
	const keys = new Set([...Object.keys(now), ...Object.keys(state.settings)]);
	const changed = [...keys].filter((key) => !Bun.deepEquals(now[key], state.settings[key]));
	if (changed.length > 0) {
		const text = (value: unknown) => (value === undefined ? "not given" : JSON.stringify(value));
		const describe = (key: string) => `${key} was ${text(state.settings[key])}, now ${text(now[key])}`;
		throw core.usageError(`--resume continues the same run, but ${changed.map(describe).join("; ")}`);
	}
	if (state.device !== device) {
		log.warn(`the checkpoint was made on ${state.device}; on ${device} the last bits will differ`);
	}
}

/** Trains the SAEs of a sweep, group after group, and remembers what is done. */
import { rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { usageError } from "../../core/errors.ts";
import { freeMemory } from "../../core/gpu/memory.ts";
import type { Context, TrainerContribution } from "../../core/plugin.ts";
import type { SaeJob } from "../../core/train/job.ts";
import { openInput } from "../input.ts";
import { makeJob } from "../train-jobs.ts";
import type { GridSae } from "./grid.ts";
import { bytesText, packGroups } from "./groups.ts";
import type { SweepInput } from "./input.ts";
import {
	appendLog,
	checkpointFile,
	exists,
	type Group,
	keptGroups,
	type LogRow,
	openGroup,
	readLog,
	readState,
	removeState,
	type Settings,
	writeState,
} from "./state.ts";

export interface Sweep {
	readonly folder: string;
	readonly input: SweepInput;
	readonly column: string | undefined;
	/** File of rows to evaluate on. */
	readonly evaluation: string | undefined;
	readonly saes: readonly GridSae[];
	readonly trainer: TrainerContribution;
	/** The trainer's. */
	readonly options: Settings;
	/** Bytes of device memory to fill; what seems to be free when undefined. */
	readonly memory: number | undefined;
	readonly resume: boolean;
	readonly context: Context;
}

/**
 * Trains what is not trained yet. Ends early when the context's signal is aborted.
 * @returns the metrics of the group of each SAE that is done, by the SAE's name.
 */
export async function runSweep(sweep: Sweep): Promise<Map<string, readonly LogRow[]>> {
	const { folder, saes, context } = sweep;
	const jobs = new Map(saes.map((sae) => [sae.name, jobOf(sae, folder)]));
	const groups = await planGroups(sweep, jobs);
	const trainer = plain(sweep.options);
	await writeState(folder, { trainer, groups });
	const finished = new Map<string, readonly LogRow[]>();
	for (const [number, group] of groups.entries()) {
		if (!group.done) {
			await trainGroup(sweep, jobs, group, number, groups.length).catch((error) => forget(sweep, error));
			if (context.signal.aborted) break;
			group.done = true;
			await writeState(folder, { trainer, groups });
			await rm(checkpointFile(folder, number), { force: true });
		}
		const log = await readLog(folder, number);
		for (const name of Object.keys(group.saes)) finished.set(name, log);
	}
	return finished;
}

/** A sweep that fails before there is anything to go on from leaves its folder as it was. */
async function forget({ folder }: Sweep, error: unknown): Promise<never> {
	if (!(await exists(checkpointFile(folder, 0))) && !(await readState(folder))?.groups[0]?.done) {
		await removeState(folder);
		await rmdir(folder).catch(() => {});
	}
	throw error;
}

/** The groups in the order in which they train, those of a resumed sweep first. */
async function planGroups(sweep: Sweep, jobs: ReadonlyMap<string, SaeJob>): Promise<Group[]> {
	const { folder, input, saes, options, context } = sweep;
	const { log } = context;
	const settings = new Map(saes.map((sae) => [sae.name, settingsOf(sae)]));
	const state = sweep.resume ? await readState(folder) : undefined;
	if (sweep.resume && !state) log.info(`${folder} holds no sweep yet: starting from the beginning`);
	const kept = state ? await keptGroups(folder, state, plain(options), settings) : [];
	const left = saes.filter(({ name }) => !kept.some((group) => name in group.saes));
	// SAEs that can't be trained are refused here, before any is.
	const bytes = new Map<string, number>();
	for (const [name, job] of jobs) {
		bytes.set(name, (await sweep.trainer.memory?.(job, input.width, options, context)) ?? 0);
	}
	const memory = sweep.memory ?? (await freeMemory((await context.gpu()).info));
	const packed = packGroups(left, ({ name }) => bytes.get(name)!, memory);
	const groups = [
		...kept,
		...packed.map((group) => ({
			saes: Object.fromEntries(group.map(({ name }) => [name, settings.get(name)!])),
			done: false,
		})),
	];
	const passes = groups.filter(({ done }) => !done);
	if (passes.length > 1 && !input.again) {
		throw usageError(
			`the rows come through a pipe, which can be read only once, but ${left.length} SAEs need ${passes.length} passes: ` +
				`${packed[0]!.length} fit at once into ${bytesText(memory)}. Write the rows to a file and name it, ask for ` +
				"fewer SAEs, or give more --memory",
		);
	}
	const total = left.reduce((sum, { name }) => sum + bytes.get(name)!, 0);
	if (left.length > 0) {
		log.info(
			`${left.length} SAE${left.length === 1 ? "" : "s"} to train, about ${bytesText(total)}; ${packed.length === 1 ? "all" : `${packed.length} groups, each`} fit into ${bytesText(memory)}`,
		);
	}
	return groups;
}

async function trainGroup(
	{ folder, input, column, evaluation, trainer, options, context, resume }: Sweep,
	jobs: ReadonlyMap<string, SaeJob>,
	group: Group,
	number: number,
	groups: number,
): Promise<void> {
	const checkpoint = checkpointFile(folder, number);
	const goesOn = resume && (await exists(checkpoint));
	await openGroup(folder, number, goesOn);
	const { log } = context;
	const prefix = groups > 1 ? `group ${number + 1} of ${groups}  ` : "";
	const job = {
		stream: await input.open(),
		columns: column === undefined ? undefined : [column],
		evaluation: evaluation === undefined ? undefined : await openInput(evaluation, ["activations"]),
		saes: Object.keys(group.saes).map((name) => jobs.get(name)!),
		checkpoint,
		resume: goesOn,
		report: async (row: LogRow) => appendLog(folder, number, row),
		diverged(sae: string, step: number) {
			appendLog(folder, number, { sae, step, diverged: true });
			log.warn(`${sae}: its loss stopped being finite by step ${step}; the others go on without it`);
		},
	};
	await trainer.train(job, options, {
		...context,
		log: { ...log, progress: (message) => log.progress(prefix + message) },
	});
}

function jobOf({ name, architecture, options, ...own }: GridSae, folder: string): SaeJob {
	return makeJob(name, architecture, options, { ...own, out: join(folder, name) });
}

function settingsOf({ name: _, architecture, options, ...own }: GridSae): Settings {
	return plain({ architecture: architecture.name, ...own, ...options });
}

/** As it comes back from JSON. */
function plain(settings: Settings): Settings {
	return JSON.parse(JSON.stringify(settings));
}

/** Trains the SAEs of a sweep, group after group, and remembers what is done. */
import { rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { usageError } from "../../core/errors.ts";
import { freeMemory } from "../../core/gpu/memory.ts";
import type { Context, TrainerContribution } from "../../core/plugin.ts";
import type { SaeJob } from "../../core/train/job.ts";
import { openInput } from "../input.ts";
import { makeJob } from "../train-jobs.ts";
import { alreadySaved, Failures, guarded } from "./failures.ts";
import type { GridSae } from "./grid.ts";
import { bytesText, packGroups } from "./groups.ts";
import type { SweepInput } from "./input.ts";
import {
	appendLog,
	checkpointFile,
	exists,
	type Group,
	isPending,
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

/** What came of a sweep. */
export interface Swept {
	/** The metrics of the group of each SAE that is saved, by the SAE's name. */
	readonly finished: ReadonlyMap<string, readonly LogRow[]>;
	readonly failures: Failures;
}

/**
 * Trains what is not trained yet. Ends early when the context's signal is aborted. An SAE that fails leaves the others
 * alone, as does a group; but when the first group fails as a whole, whatever failed would fail all, and it throws.
 */
export async function runSweep(sweep: Sweep): Promise<Swept> {
	const { folder, saes, context } = sweep;
	const jobs = new Map(saes.map((sae) => [sae.name, jobOf(sae, folder)]));
	const groups = await planGroups(sweep, jobs);
	const trainer = settingsOfAll(sweep);
	await writeState(folder, { trainer, groups });
	const finished = new Map<string, readonly LogRow[]>();
	const failures = new Failures(context.log);
	for (const [number, group] of groups.entries()) {
		if (isPending(group, jobs)) {
			try {
				group.failed = await trainGroup(sweep, jobs, group, number, groups.length, failures);
			} catch (error) {
				if (finished.size === 0) await forget(sweep);
				if (finished.size === 0 || context.signal.aborted) throw error;
				const names = Object.keys(group.saes);
				failures.add(names, `${names.join(", ")}: training failed, the others go on`, error);
				continue;
			}
			if (context.signal.aborted) break;
			group.done = true;
			await writeState(folder, { trainer, groups });
			if (group.failed.length === 0) await rm(checkpointFile(folder, number), { force: true });
		}
		const saved = Object.keys(group.saes).filter((name) => !group.failed.includes(name));
		if (saved.length === 0) continue;
		const log = await readLog(folder, number);
		for (const name of saved) finished.set(name, log);
	}
	return { finished, failures };
}

/** A sweep that fails before there is anything to go on from leaves its folder as it was. */
async function forget({ folder }: Sweep): Promise<void> {
	const { groups = [] } = (await readState(folder)) ?? {};
	for (const [number, { done }] of groups.entries()) {
		if (done || (await exists(checkpointFile(folder, number)))) return;
	}
	await removeState(folder);
	await rmdir(folder).catch(() => {});
}

/** The groups in the order in which they train, those of a resumed sweep first. */
async function planGroups(sweep: Sweep, jobs: ReadonlyMap<string, SaeJob>): Promise<Group[]> {
	const { folder, input, saes, options, context } = sweep;
	const { log } = context;
	const settings = new Map(saes.map((sae) => [sae.name, settingsOf(sae)]));
	const state = sweep.resume ? await readState(folder) : undefined;
	if (sweep.resume && !state) log.info(`${folder} holds no sweep yet: starting from the beginning`);
	const kept = state ? await keptGroups(folder, state, settingsOfAll(sweep), settings) : [];
	const left = saes.filter(({ name }) => !kept.some((group) => name in group.saes));
	// SAEs that can't be trained are refused here, before any is.
	const bytes = new Map<string, number>();
	for (const [name, job] of jobs) {
		bytes.set(name, (await sweep.trainer.memory?.(job, input.widths, options, context)) ?? 0);
	}
	const memory = sweep.memory ?? (await freeMemory((await context.gpu()).info));
	const packed = packGroups(left, ({ name }) => bytes.get(name)!, memory);
	const groups = [
		...kept,
		...packed.map((group) => ({
			saes: Object.fromEntries(group.map(({ name }) => [name, settings.get(name)!])),
			done: false,
			failed: [],
		})),
	];
	const passes = groups.filter((group) => isPending(group, jobs));
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

/** @returns the SAEs that were trained, but could not be finished or saved. */
async function trainGroup(
	{ folder, input, evaluation, trainer, options, context, resume }: Sweep,
	jobs: ReadonlyMap<string, SaeJob>,
	group: Group,
	number: number,
	groups: number,
	failures: Failures,
): Promise<string[]> {
	const checkpoint = checkpointFile(folder, number);
	const goesOn = resume && (await exists(checkpoint));
	await openGroup(folder, number, goesOn);
	const { log } = context;
	const failed: string[] = [];
	const saes = Object.keys(group.saes).map((name) => {
		const job = jobs.get(name)!;
		if (group.done && !group.failed.includes(name)) return alreadySaved(job);
		return guarded(job, (error) => {
			failed.push(name);
			failures.add([name], `${name}: is trained, but could not be saved`, error);
		});
	});
	const prefix = groups > 1 ? `group ${number + 1} of ${groups}  ` : "";
	const job = {
		stream: await input.open(),
		columns: input.columns,
		targets: input.targets,
		evaluation: evaluation === undefined ? undefined : await openInput(evaluation, ["activations"]),
		saes,
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
	return failed;
}

function jobOf({ name, architecture, options, ...own }: GridSae, folder: string): SaeJob {
	return makeJob(name, architecture, options, { ...own, out: join(folder, name) });
}

function settingsOf({ name: _, architecture, options, ...own }: GridSae): Settings {
	return plain({ architecture: architecture.name, ...own, ...options });
}

/** What all SAEs share. */
function settingsOfAll({ options, input: { columns, targets } }: Sweep): Settings {
	return plain({ ...options, column: columns, target: targets });
}

/** As it comes back from JSON. */
function plain(settings: Settings): Settings {
	return JSON.parse(JSON.stringify(settings));
}

/**
 * What a sweep keeps in its folder besides the SAEs, so that it can go on after any end: `sweep.json` says what it was
 * started with and which groups of SAEs train together, and for each group `training/N.jsonl` has every row of
 * metrics. A group's training state lies beside them until all of its SAEs are saved.
 */
import { appendFileSync } from "node:fs";
import { access, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { EXIT, SaeError, usageError } from "../../core/errors.ts";
import { writeAtomically } from "../../core/files/atomic.ts";
import type { TrainMetrics } from "../../core/train/job.ts";

const Settings = z.record(z.string(), z.unknown());

const State = z.object({
	format: z.literal("saeflow-sweep-1"),
	/** The trainer's options and the columns. */
	trainer: Settings,
	groups: z.array(
		z.object({
			/** Settings of each SAE, by name. */
			saes: z.record(z.string(), Settings),
			/** Whether training has come to its end. */
			done: z.boolean(),
			/** SAEs that were trained, but could not be finished or saved. */
			failed: z.array(z.string()).default([]),
		}),
	),
});

export type Settings = z.infer<typeof Settings>;
export type Group = z.infer<typeof State>["groups"][number];
export type SweepState = Omit<z.infer<typeof State>, "format">;

const stateFile = (folder: string) => join(folder, "sweep.json");

export function checkpointFile(folder: string, group: number): string {
	return join(folder, "training", `${group + 1}.safetensors`);
}

function metricsFile(folder: string, group: number): string {
	return join(folder, "training", `${group + 1}.jsonl`);
}

/** @returns undefined where there is none. @throws SaeError for a file that is something else. */
export async function readState(folder: string): Promise<SweepState | undefined> {
	const file = Bun.file(stateFile(folder));
	if (!(await file.exists())) return undefined;
	const state = State.safeParse(await file.json().catch(() => undefined));
	if (state.success) return state.data;
	throw new SaeError(
		`${stateFile(folder)}: is not the state of a sweep of this version of saeflow`,
		EXIT.data,
	);
}

export async function writeState(folder: string, { trainer, groups }: SweepState): Promise<void> {
	await mkdir(join(folder, "training"), { recursive: true });
	const text = JSON.stringify({ format: "saeflow-sweep-1", trainer, groups }, null, "\t");
	await writeAtomically(stateFile(folder), (append) => append(new TextEncoder().encode(`${text}\n`)));
}

export async function removeState(folder: string): Promise<void> {
	await rm(stateFile(folder), { force: true });
	await rm(join(folder, "training"), { recursive: true, force: true });
}

/**
 * The groups that a resumed sweep keeps: those that have begun. One before them that has not, since it failed at once,
 * leaves an empty place, for a group's number names its files.
 * @param asked Settings of the SAEs that are asked for, by name. There may be more than before.
 * @throws a usage error where the sweep is another one.
 */
export async function keptGroups(
	folder: string,
	state: SweepState,
	trainer: Settings,
	asked: ReadonlyMap<string, Settings>,
): Promise<Group[]> {
	const begun = await Promise.all(
		state.groups.map(({ done }, number) => done || exists(checkpointFile(folder, number))),
	);
	const kept = state.groups
		.slice(0, begun.lastIndexOf(true) + 1)
		.map((group, number): Group => (begun[number] ? group : { saes: {}, done: true, failed: [] }));
	if (kept.length > 0) refuseChanges("", state.trainer, trainer);
	for (const group of kept) {
		for (const [name, settings] of Object.entries(group.saes)) {
			const now = asked.get(name);
			if (now) refuseChanges(`${name}: `, settings, now);
			else if (isPending(group, asked)) {
				const why = group.done ? `shares its training state with ${group.failed[0]}` : "is half trained";
				throw usageError(`--resume: ${name} ${why}, so it can't be left out; --overwrite starts over`);
			}
		}
	}
	return kept;
}

/** Whether there is something left to do for a group: to train it, or to save SAEs that are asked for. */
export function isPending({ done, failed }: Group, asked: { has(name: string): boolean }): boolean {
	return !done || failed.some((name) => asked.has(name));
}

function refuseChanges(prefix: string, before: Settings, now: Settings): void {
	const keys = [...new Set([...Object.keys(before), ...Object.keys(now)])];
	const changed = keys.filter((key) => !Bun.deepEquals(before[key], now[key]));
	if (changed.length === 0) return;
	const text = (value: unknown) => (value === undefined ? "not given" : JSON.stringify(value));
	const differences = changed.map((key) => `${prefix}${key} was ${text(before[key])}, now ${text(now[key])}`);
	throw usageError(`--resume continues the same sweep, but ${differences.join("; ")}`);
}

export function exists(path: string): Promise<boolean> {
	return access(path).then(
		() => true,
		() => false,
	);
}

/** A row of metrics, or that an SAE left its group. */
export type LogRow = TrainMetrics | { readonly sae: string; readonly step: number; readonly diverged: true };

/** Written at once, so that rows of an update are there before the training state that has it. */
export function appendLog(folder: string, group: number, row: LogRow): void {
	appendFileSync(metricsFile(folder, group), `${JSON.stringify(row)}\n`);
}

/** The rows of a group, also of one that was killed while it wrote. */
export async function readLog(folder: string, group: number): Promise<LogRow[]> {
	const text = await Bun.file(metricsFile(folder, group)).text();
	return text.split("\n").flatMap((line) => {
		try {
			return [JSON.parse(line) as LogRow];
		} catch {
			return [];
		}
	});
}

/** Clears the way for a group that begins, or lets the log of one that goes on continue on a line of its own. */
export async function openGroup(folder: string, group: number, resume: boolean): Promise<void> {
	if (resume) return appendFileSync(metricsFile(folder, group), "\n");
	await rm(checkpointFile(folder, group), { force: true });
	await Bun.write(metricsFile(folder, group), "");
}

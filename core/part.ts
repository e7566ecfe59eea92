/** One of several equal parts of a source, so that many machines can each make or read one. */
import { z } from "zod";
import { usageError } from "./errors.ts";
import type { Logger } from "./plugin.ts";
import { META } from "./stream.ts";

export interface Part {
	/** From 0. */
	readonly index: number;
	readonly count: number;
}

const FORM = /^(\d{1,9})\/(\d{1,9})$/;

/** The option of sources that can be taken in parts. */
export const partOption = z
	.string()
	.regex(FORM, "must be like 3/8, the third of eight parts")
	.optional()
	.meta({ hint: "I/N" })
	.describe(
		"Only the I-th of N parts, counted from 1; the default is what a scheduler's array variables say, else all",
	);

/**
 * The part that is asked for: by `given`, else by the variables of an array job, which `log` then tells.
 * Undefined when everything is.
 *
 * @throws SaeError (usage) when that is no part, or variables say which one but not of how many.
 */
export function partOf(
	given: string | undefined,
	log: Pick<Logger, "info">,
	env: Readonly<Record<string, string | undefined>> = process.env,
): Part | undefined {
	if (given === undefined) {
		const found = scheduled(env);
		if (!found) return undefined;
		const part = checked(found.index, found.count, found.variable);
		log.info(`part ${part.index + 1}/${part.count}, as ${found.variable} says; --shard 1/1 takes everything`);
		return part.count === 1 ? undefined : part;
	}
	const [, position, count] = FORM.exec(given)!;
	const part = checked(Number(position) - 1, Number(count), `--shard ${given}`);
	return part.count === 1 ? undefined : part;
}

/** Schema metadata of a stream of that part. */
export function partMetadata(part: Part | undefined): Record<string, string> {
	return part ? { [META.part]: `${part.index + 1}/${part.count}` } : {};
}

/** The part's rows, `begin` to `end` (exclusive), of `rows` rows: each row is in one part, and parts differ by one row. */
export function rowsOfPart(part: Part | undefined, rows: number): { begin: number; end: number } {
	if (!part) return { begin: 0, end: rows };
	// In whole numbers, since index × rows may be more than a double holds exactly.
	const bound = (index: number) => Number((BigInt(index) * BigInt(rows)) / BigInt(part.count));
	return { begin: bound(part.index), end: bound(part.index + 1) };
}

/** Whether a thing with this number, such as a document, is in the part: they are dealt like cards. */
export function isInPart(part: Part | undefined, number: number): boolean {
	return !part || number % part.count === part.index;
}

function checked(index: number, count: number, source: string): Part {
	if (Number.isInteger(index) && index >= 0 && index < count) return { index, count };
	throw usageError(`${source}: is no part, since they count from 1 to N; give --shard I/N`);
}

interface Scheduled {
	readonly index: number;
	readonly count: number;
	readonly variable: string;
}

/** Says how many parts there are, for schedulers that don't. */
const COUNT = "SAE_SHARD_COUNT";

type Variables = Readonly<Record<string, string | undefined>>;

/** What each scheduler tells the tasks of an array, by its manual. */
function scheduled(env: Variables): Scheduled | undefined {
	return slurm(env) ?? gridEngine(env) ?? lsf(env) ?? counted(env);
}

/** `--array=MIN-MAX:STEP`. A list with gaps can't be told from these; its later numbers are too large. */
function slurm(env: Variables): Scheduled | undefined {
	const id = numberIn(env, "SLURM_ARRAY_TASK_ID");
	const count = numberIn(env, "SLURM_ARRAY_TASK_COUNT");
	if (id === undefined || count === undefined) return undefined;
	const first = numberIn(env, "SLURM_ARRAY_TASK_MIN") ?? 0;
	const step = numberIn(env, "SLURM_ARRAY_TASK_STEP") ?? 1;
	return { index: (id - first) / step, count, variable: `SLURM_ARRAY_TASK_ID=${id}` };
}

/** `-t FIRST-LAST:STEPSIZE`; outside of arrays SGE_TASK_ID is the word undefined. */
function gridEngine(env: Variables): Scheduled | undefined {
	const id = numberIn(env, "SGE_TASK_ID");
	const first = numberIn(env, "SGE_TASK_FIRST");
	const last = numberIn(env, "SGE_TASK_LAST");
	if (id === undefined || first === undefined || last === undefined) return undefined;
	const step = numberIn(env, "SGE_TASK_STEPSIZE") ?? 1;
	const count = Math.floor((last - first) / step) + 1;
	return { index: (id - first) / step, count, variable: `SGE_TASK_ID=${id}` };
}

/** `-J name[1-END:STEP]`; outside of arrays LSB_JOBINDEX is 0. */
function lsf(env: Variables): Scheduled | undefined {
	const id = numberIn(env, "LSB_JOBINDEX");
	const end = numberIn(env, "LSB_JOBINDEX_END");
	if (!id || end === undefined) return undefined;
	const step = numberIn(env, "LSB_JOBINDEX_STEP") ?? 1;
	return { index: (id - 1) / step, count: Math.floor((end - 1) / step) + 1, variable: `LSB_JOBINDEX=${id}` };
}

/** Kubernetes counts from 0; PBS and Torque as the user says, here from 1. None tells how many there are. */
function counted(env: Variables): Scheduled | undefined {
	for (const [name, first] of [
		["JOB_COMPLETION_INDEX", 0],
		["PBS_ARRAY_INDEX", 1],
		["PBS_ARRAYID", 1],
	] as const) {
		const id = numberIn(env, name);
		if (id === undefined) continue;
		const count = numberIn(env, COUNT);
		if (count === undefined) {
			throw usageError(
				`${name}=${id} says which part to take, but not of how many: set ${COUNT}, or give --shard I/N`,
			);
		}
		return { index: id - first, count, variable: `${name}=${id}` };
	}
	return undefined;
}

function numberIn(env: Variables, name: string): number | undefined {
	const text = env[name];
	return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

import { describe, expect, test } from "bun:test";
import { isInPart, type Part, partOf, rowsOfPart } from "../../core/part.ts";

const silent = { info() {} };
const fromEnv = (env: Record<string, string>) => partOf(undefined, silent, env);

test.each([
	["3/8", { index: 2, count: 8 }],
	["8/8", { index: 7, count: 8 }],
	["1/1", undefined],
	[undefined, undefined],
])("--shard %p", (given, part) => expect(partOf(given, silent, {})).toEqual(part));

test.each(["0/8", "9/8", "1/0"])("--shard %s is no part", (given) =>
	expect(() => partOf(given, silent, {})).toThrow("count from 1 to N"),
);

describe("variables of array jobs", () => {
	const slurm = (id: number, min: number, count: number, step = 1) => ({
		SLURM_ARRAY_TASK_ID: `${id}`,
		SLURM_ARRAY_TASK_MIN: `${min}`,
		SLURM_ARRAY_TASK_COUNT: `${count}`,
		SLURM_ARRAY_TASK_STEP: `${step}`,
	});
	test.each([
		["Slurm, --array=0-7", slurm(3, 0, 8), { index: 3, count: 8 }],
		["Slurm, --array=1-8", slurm(8, 1, 8), { index: 7, count: 8 }],
		["Slurm, --array=10-30:10", slurm(20, 10, 3, 10), { index: 1, count: 3 }],
		["Slurm, one task", slurm(5, 5, 1), undefined],
		[
			"Grid Engine, -t 2-10:4",
			{ SGE_TASK_ID: "6", SGE_TASK_FIRST: "2", SGE_TASK_LAST: "10", SGE_TASK_STEPSIZE: "4" },
			{ index: 1, count: 3 },
		],
		["Grid Engine without an array", { SGE_TASK_ID: "undefined", SGE_TASK_FIRST: "undefined" }, undefined],
		["LSF, [1-4]", { LSB_JOBINDEX: "4", LSB_JOBINDEX_END: "4" }, { index: 3, count: 4 }],
		["LSF without an array", { LSB_JOBINDEX: "0", LSB_JOBINDEX_END: "0" }, undefined],
		["Kubernetes", { JOB_COMPLETION_INDEX: "0", SAE_SHARD_COUNT: "3" }, { index: 0, count: 3 }],
		["PBS", { PBS_ARRAY_INDEX: "3", SAE_SHARD_COUNT: "3" }, { index: 2, count: 3 }],
		["Torque", { PBS_ARRAYID: "1", SAE_SHARD_COUNT: "3" }, { index: 0, count: 3 }],
		["no scheduler", { PATH: "/bin" }, undefined],
	])("%s", (_, env, part) =>
		expect(fromEnv(env as Record<string, string>)).toEqual(part as Part | undefined),
	);

	test("are told of, and give way to --shard", () => {
		const told: string[] = [];
		const log = { info: (message: string) => void told.push(message) };
		expect(partOf("1/2", log, slurm(3, 0, 8))).toEqual({ index: 0, count: 2 });
		expect(partOf("1/1", log, slurm(3, 0, 8))).toBeUndefined();
		expect(told).toEqual([]);
		partOf(undefined, log, slurm(3, 0, 8));
		expect(told).toEqual(["part 4/8, as SLURM_ARRAY_TASK_ID=3 says; --shard 1/1 takes everything"]);
	});

	test("that leave it open are an error", () => {
		expect(() => fromEnv({ JOB_COMPLETION_INDEX: "2" })).toThrow("SAE_SHARD_COUNT");
		// --array=1,5,9: three tasks, of which 9 would be the ninth.
		expect(() => fromEnv(slurm(9, 1, 3))).toThrow("give --shard I/N");
		expect(() => fromEnv(slurm(15, 10, 3, 10))).toThrow("give --shard I/N");
	});
});

test.each([
	[10, 3],
	[3, 8],
	[0, 2],
	[2 ** 52 + 1, 7],
])("of %i rows, %i parts hold each once and differ by one at most", (rows, count) => {
	const ranges = Array.from({ length: count }, (_, index) => rowsOfPart({ index, count }, rows));
	let next = 0;
	for (const { begin, end } of ranges) {
		expect(begin).toBe(next);
		expect(Math.abs(end - begin - rows / count)).toBeLessThan(1);
		next = end;
	}
	expect(next).toBe(rows);
});

test("things are dealt to parts in turn", () => {
	const dealt = Array.from({ length: 7 }, (_, number) =>
		[0, 1, 2].filter((index) => isInPart({ index, count: 3 }, number)),
	);
	expect(dealt.flat()).toEqual([0, 1, 2, 0, 1, 2, 0]);
});

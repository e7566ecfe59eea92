import { describe, expect, test } from "bun:test";
import { z } from "zod";
import { parseArgv } from "../../cli/argv.ts";
import { flagsOf } from "../../cli/flags.ts";
import { readOptions } from "../../cli/options.ts";
import { nearest } from "../../cli/suggest.ts";

const schema = z.object({
	d_sae: z.int().min(1).describe("Latents"),
	lr: z.number().default(1e-3),
	k: z.union([z.number(), z.string()]).default(8),
	size: z.literal([1, 2, 4]).optional(),
	mode: z.enum(["fast", "exact"]).default("exact"),
	tag: z.array(z.string()).default([]),
	shuffle: z.boolean().default(true),
	rows: z
		.string()
		.regex(/^\d+:\d+$/)
		.transform((text) => text.split(":").map(Number))
		.optional()
		.meta({ hint: "A:B" }),
	paths: z.array(z.string()).default([]),
});
const group = { schema, positionals: [{ key: "paths", variadic: true }] };
const read = (...words: string[]) => readOptions(["--d-sae", "4", ...words], [group], undefined)[0];

describe("flags from a zod object", () => {
	const flags = Object.fromEntries(flagsOf(schema).map((flag) => [flag.name, flag]));

	test("keys become kebab-case, with types, defaults, choices and hints through all wrappers", () => {
		expect(flags["d-sae"]).toMatchObject({
			key: "d_sae",
			type: "number",
			required: true,
			summary: "Latents",
		});
		expect(flags.lr).toMatchObject({ type: "number", required: false, default: 1e-3, hint: "N" });
		expect(flags.k).toMatchObject({ type: "scalar", default: 8 });
		expect(flags.size).toMatchObject({ type: "number", choices: ["1", "2", "4"], required: false });
		expect(flags.mode).toMatchObject({ type: "string", choices: ["fast", "exact"], default: "exact" });
		expect(flags.tag).toMatchObject({ type: "string", repeated: true });
		expect(flags.shuffle).toMatchObject({ type: "boolean", default: true });
		expect(flags.rows).toMatchObject({ type: "string", hint: "A:B", required: false });
	});

	test("what is no zod object is refused", () => {
		expect(() => flagsOf(z.string())).toThrow("must be a zod object");
	});
});

describe("words become options", () => {
	// biome-ignore format: one case a line
	test.each([
		[["--lr", "-1"], { lr: -1 }],
		[["--lr=-2.5e-3"], { lr: -2.5e-3 }],
		[["--lr", "-.5"], { lr: -0.5 }],
		[["--lr", "1.1M"], { lr: 1_100_000 }],
		[["--lr", "2k"], { lr: 2000 }],
		[["--k", "16:4"], { k: "16:4" }],
		[["--k", "16"], { k: 16 }],
		[["--size", "2"], { size: 2 }],
		[["--tag", "a", "--tag=b"], { tag: ["a", "b"] }],
		[["--tag=-x"], { tag: ["-x"] }],
		[["--no-shuffle"], { shuffle: false }],
		[["--shuffle=false"], { shuffle: false }],
		[["--shuffle"], { shuffle: true }],
		[["--rows", "1:20"], { rows: [1, 20] }],
		[["-"], { paths: ["-"] }],
		[["a", "--lr", "2", "b"], { paths: ["a", "b"], lr: 2 }],
		[["--", "--lr", "-x"], { paths: ["--lr", "-x"] }],
	])("%j", (words, expected) => {
		expect(read(...words)).toMatchObject(expected);
	});

	// biome-ignore format: one case a line
	test.each([
		[["--d_sae", "3"], "unknown option --d_sae; did you mean --d-sae?"],
		[["--no-lr"], "--no-lr: --lr is no switch"],
		[["--no-shuffle=true"], "--no-shuffle takes no value"],
		[["--lr", "0x10"], '--lr: must be a number, got "0x10"'],
		[["--lr", "2m"], '--lr: must be a number, got "2m"'],
		[["--lr", "1e3k"], '--lr: must be a number, got "1e3k"'],
		[["--lr", "1e999"], "--lr: must be a number, got Infinity"],
		[["--size", "3"], "--size: must be one of 1, 2, 4, got 3"],
		[["--mode", "slow"], '--mode: must be one of fast, exact, got "slow"'],
		[["--rows", "1-2"], "--rows: "],
		[["--tag", "--lr", "1"], "--tag needs a value"],
		[["--constructor", "1"], "unknown option --constructor"],
	])("%j is refused", (words, message) => {
		expect(() => read(...words)).toThrow(message);
	});

	test("what is required says so", () => {
		expect(() => readOptions([], [group], undefined)).toThrow("--d-sae is required");
	});

	test("a run file gives values under their keys, and flags win", () => {
		const file = { path: "run.toml", values: { d_sae: 16, lr: 0.1, tag: ["x"] } };
		expect(readOptions(["--lr", "0.2"], [group], file)[0]).toMatchObject({ d_sae: 16, lr: 0.2, tag: ["x"] });
		const wrong = { path: "run.toml", values: { d_sae: "16" } };
		expect(() => readOptions([], [group], wrong)).toThrow('run.toml: d_sae: must be a number, got "16"');
	});

	test("groups share the words, and a key that two of them have goes to both", () => {
		const other = { schema: z.object({ lr: z.number(), beta: z.number() }), positionals: [] };
		const [first, second] = readOptions(
			["--d-sae", "1", "--lr", "3", "--beta", "2"],
			[group, other],
			undefined,
		);
		expect(first).toMatchObject({ d_sae: 1, lr: 3 });
		expect(second).toEqual({ lr: 3, beta: 2 });
	});

	test("flags come with their values only", () => {
		expect(parseArgv(["--k", "3"], flagsOf(schema)).values).toEqual({ k: 3 });
	});
});

describe("near misses", () => {
	test.each([
		["d-sea", "d-sae"],
		["leraning-rate", "learning-rate"],
		["xyz", undefined],
	])("%s → %s", (typed, meant) => {
		expect(nearest(typed, ["d-sae", "learning-rate", "tokens"])).toBe(meant);
	});
});

/** Every promise that is broken is noticed, and named. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Schema } from "apache-arrow";
import { core } from "../../core/api.ts";
import type { TrainingSpec } from "../../core/architecture.ts";
import {
	checkArchitecture,
	checkEvaluator,
	checkExporter,
	checkImporter,
	checkInterpreter,
	checkPackage,
	checkSource,
	checkTrainer,
} from "../../core/conformance/index.ts";
import { type Gpu, openGpu } from "../../core/gpu/device.ts";
import type { Interpretation, Interpreter, LatentToExplain } from "../../core/interpret/interpreter.ts";
import type {
	ActivationSource,
	ArchitectureContribution,
	Contribution,
	ContributionKind,
	EvaluatorContribution,
	ExporterContribution,
	ImporterContribution,
	MetricRow,
	Plugin,
	SourceContribution,
	TrainerContribution,
} from "../../core/plugin.ts";
import type { ContributionOf } from "../../core/registry.ts";
import saelens from "../../plugins/saelens.ts";
import topk from "../../plugins/topk.ts";
import trainer from "../../plugins/trainer.ts";
import { writePackage } from "../packages/packages.ts";

const { z } = core;

const plugin = (...contributions: unknown[]): Plugin => ({
	name: "broken",
	apiVersion: 1,
	contributes: () => contributions as Contribution[],
});

function partOf<K extends ContributionKind>(of: Plugin, kind: K): ContributionOf<K> {
	return of.contributes(core).find((one) => one.kind === kind) as ContributionOf<K>;
}

let gpu: Gpu;
let folder: string;
beforeAll(async () => {
	gpu = await openGpu();
	folder = await mkdtemp(join(tmpdir(), "sae-broken-"));
});
afterAll(async () => {
	gpu.close();
	await rm(folder, { recursive: true });
});

describe("a contribution", () => {
	const sound = {
		kind: "source",
		name: "a",
		summary: "a",
		options: z.object({}),
		open: () => expect.unreachable(),
	};
	test.each<[string, object, string]>([
		["a name that no command line takes", { name: "a b" }, "source a b: the name must be of letters"],
		["a summary of two lines", { summary: "a\nb" }, "source a: summary must be one line"],
		["options of another kind", { options: z.string() }, "source a: options must be made by z.object"],
		[
			"camelCase",
			{ options: z.object({ dIn: z.int().describe("x") }) },
			"the option dIn must be in snake_case",
		],
		["no help", { options: z.object({ d_in: z.int().default(1) }) }, "the option d_in needs .describe"],
		[
			"a positional that is none",
			{ positional: { key: "path", variadic: false } },
			"the positional path is not",
		],
	])("with %s", async (_, change, complaint) => {
		await expect(checkSource(plugin({ ...sound, ...change }))).rejects.toThrow(complaint);
	});

	test("that is not there, is there twice, or must be chosen", async () => {
		await expect(checkSource(plugin())).rejects.toThrow("plugin broken: contributes no source");
		await expect(checkSource(plugin(sound, sound))).rejects.toThrow("contributes a source twice: a");
		await expect(checkSource(plugin(sound, { ...sound, name: "b" }))).rejects.toThrow(
			"the sources a, b; say which",
		);
		await expect(checkSource({ ...plugin(sound), apiVersion: 2 })).rejects.toThrow("API version 2");
	});

	test("that refuses the suite's options", async () => {
		const options = z.object({ d_in: z.int().describe("x") });
		await expect(checkSource(plugin({ ...sound, options }))).rejects.toThrow(
			"source a: refuses the options of the suite, {}: d_in",
		);
		await expect(checkSource(plugin(sound), { options: { b: 1 } })).rejects.toThrow('Unrecognized key: "b"');
	});
});

describe("a source", () => {
	const ROWS = 20;
	const schema = core.activationsSchema({ width: 2, type: "float32" });
	/** Row r is [r + offset, 0], in batches of `size`, from `first` on. */
	async function* counting(first: number, { rows = ROWS, size = 7, offset = 0, cursor = 0 } = {}) {
		for (let row = first; row < rows; row += size) {
			const count = Math.min(size, rows - row);
			const data = Float32Array.from({ length: 2 * count }, (_, i) =>
				i % 2 === 0 ? row + offset + i / 2 : 0,
			);
			yield core.activationsBatch(schema, { data, rows: count, width: 2, type: "float32" }, {}, row + cursor);
		}
	}
	const source = (make: () => Partial<ActivationSource>): Plugin =>
		plugin({
			kind: "source",
			name: "counting",
			summary: "counts",
			options: z.object({}),
			open: async () => ({ schema, rows: ROWS, batches: counting, ...make() }),
		} satisfies SourceContribution);

	test("that is sound passes", () => checkSource(source(() => ({}))));

	let opened = 0;
	let read = 0;
	test.each<[string, () => Partial<ActivationSource>, string]>([
		["fewer rows than it says", () => ({ rows: 21 }), "says that there are 21 rows, but batches(0) gives 20"],
		["more rows than it says", () => ({ rows: 19 }), "says that there are 19 rows, but batches(0) gives 20"],
		["no rows", () => ({ rows: 0, batches: () => counting(20) }), "has no rows with these options"],
		[
			"other rows when opened again",
			() => ({
				batches: (
					(offset) => (start: number) =>
						counting(start, { offset })
				)(opened++),
			}),
			"gives other rows when it is opened again",
		],
		[
			"other rows when read again",
			() => ({ batches: (start) => counting(start, { offset: read++ }) }),
			"batches(0) gives other rows the second time",
		],
		[
			"a start that begins a row late",
			() => ({ batches: (start) => counting(start, { offset: start > 0 ? 1 : 0 }) }),
			"batches(1) is not the tail of batches(0)",
		],
		[
			"a start that skips to whole batches",
			() => ({ batches: (start) => counting(start - (start % 7), { cursor: start % 7 }) }),
			"batches(1) is not the tail of batches(0)",
		],
		[
			"row numbers from somewhere else",
			() => ({ batches: (start) => counting(start, { cursor: 5 }) }),
			"the batch at row 0 says that its first row is 5",
		],
		[
			"another schema",
			() => ({ schema: core.activationsSchema({ width: 3, type: "float32" }) }),
			"the batch at row 0 has the columns",
		],
		[
			"a schema that is not of activations",
			() => ({ schema: new Schema(schema.fields) }),
			"its schema is not that of activations",
		],
	])("with %s", async (_, make, complaint) => {
		await expect(checkSource(source(make))).rejects.toThrow(complaint);
	});
});

describe("an evaluator", () => {
	const evaluator = (
		evaluate: EvaluatorContribution["evaluate"],
		input: "stream" | "none" = "stream",
	): Plugin => plugin({ kind: "evaluator", name: "e", summary: "e", options: z.object({}), input, evaluate });
	/** Counts rows as an evaluator should, then gives `result`. */
	const counting =
		(result: (rows: number) => MetricRow[], { interruptible = true, empty = true, narrow = true } = {}) =>
		async (
			{ model, stream }: Parameters<EvaluatorContribution["evaluate"]>[0],
			_: unknown,
			context: { signal: AbortSignal },
		) => {
			const reader = core.saeReader(stream!.schema, model);
			let rows = 0;
			for await (const batch of stream!.batches) {
				if (interruptible) context.signal.throwIfAborted();
				if (narrow) reader.read(batch);
				rows += batch.numRows;
			}
			if (rows === 0 && empty) throw new core.SaeError("no rows");
			return result(rows);
		};
	let calls = 0;

	test("that is sound passes", () => checkEvaluator(evaluator(counting((rows) => [{ rows }])), { gpu }));

	test.each<[string, Plugin, string]>([
		["no rows", evaluator(counting(() => [])), "evaluator e: gives no rows"],
		["NaN", evaluator(counting(() => [{ a: Number.NaN }])), "a of row 0 is NaN"],
		["other keys", evaluator(counting(() => [{ a: 1 }, { b: 1 }])), "row 1 has the keys b, row 0 has a"],
		[
			"other figures each time",
			evaluator(counting(() => [{ a: calls++ }])),
			"gives other figures the second time",
		],
		[
			"any width",
			evaluator(counting((rows) => [{ rows }], { narrow: false })),
			"rows of another width than the SAE's: it must be refused",
		],
		[
			"an empty stream",
			evaluator(counting((rows) => [{ rows }], { empty: false })),
			"a stream without rows: it must be refused",
		],
		[
			"no end",
			evaluator(counting((rows) => [{ rows }], { interruptible: false })),
			"goes on when context.signal is aborted",
		],
		[
			"a hand on the weights",
			evaluator(async ({ model }) => {
				model.tensors.b_dec!.data[0] = 9;
				return [{ a: 1 }];
			}, "none"),
			"changes the SAE that it evaluates",
		],
	])("with %s", async (_, broken, complaint) => {
		await expect(checkEvaluator(broken, { gpu })).rejects.toThrow(complaint);
	});

	test("that takes wrong options", async () => {
		const lax = evaluator(async () => [{ a: 1 }], "none");
		await expect(checkEvaluator(lax, { gpu, wrong: [{}] })).rejects.toThrow("options {}: it must be refused");
	});
});

describe("an interpreter", () => {
	const interpreter = (interpret: Interpreter["interpret"], columns = ["length"]): Plugin =>
		plugin({
			kind: "interpreter",
			name: "i",
			summary: "i",
			options: z.object({}),
			open: async () => ({ columns, interpret }),
		});
	const saying =
		(said: Partial<Interpretation>) =>
		async ({ feature }: LatentToExplain): Promise<Interpretation> => ({
			explanation: `latent ${feature.latent}`,
			source: "i",
			scores: { length: 3 },
			...said,
		});
	let calls = 0;

	test("that is sound passes", () => checkInterpreter(interpreter(saying({})), { gpu }));

	test.each<[string, Plugin, string]>([
		["no words", interpreter(saying({ explanation: " " })), "an explanation without words"],
		["no source", interpreter(saying({ source: null })), "an explanation has a source"],
		["NaN", interpreter(saying({ scores: { length: Number.NaN } })), "length is NaN"],
		[
			"another score",
			interpreter(saying({ scores: { width: 1 } })),
			"a score width, which is not among the columns",
		],
		["a column twice", interpreter(saying({}), ["length", "length"]), "has a column twice"],
		["a column's name", interpreter(saying({}), ["Length"]), "must be in snake_case"],
		[
			"other words each time",
			interpreter(async () => ({ explanation: `${calls++}`, source: "i", scores: {} })),
			"says something else the second time",
		],
	])("with %s", async (_, broken, complaint) => {
		await expect(checkInterpreter(broken, { gpu })).rejects.toThrow(complaint);
	});
});

describe("a format", () => {
	const [exporter, importer] = [partOf(saelens, "exporter"), partOf(saelens, "importer")];
	const format = (write: Partial<ExporterContribution>, read: Partial<ImporterContribution> = {}): Plugin =>
		plugin({ ...exporter, ...write }, { ...importer, ...read });
	const scaled = (factor: number) => async (path: string) => {
		const model = await importer.read(path);
		const { W_enc } = model.tensors;
		return {
			...model,
			tensors: { ...model.tensors, W_enc: { ...W_enc!, data: W_enc!.data.map((v) => v * factor) } },
		};
	};
	let writes = 0;

	test.each<[string, Plugin, string]>([
		[
			"a file beside",
			format({
				write: async (model, path, options) => {
					await exporter.write(model, path, options);
					await writeFile(`${path}.tmp`, "");
				},
			}),
			"left also: written.tmp",
		],
		[
			"other bytes each time",
			format({
				write: async (model, path, options) =>
					exporter.write({ ...model, metadata: { at: writes++ } }, path, options),
			}),
			"gives other bytes",
		],
		[
			"an error of another kind",
			format({
				write: (model, path, options) =>
					exporter.write(model, path, options).catch(() => Promise.reject(new Error("oops"))),
			}),
			"with a SaeError, not with: Error: oops",
		],
		[
			"silence where nothing was written",
			format({ write: (model, path, options) => exporter.write(model, path, options).catch(() => {}) }),
			"a path that lies in a file: it must be refused",
		],
		[
			"no recognition of its own",
			format({}, { detect: async () => false }),
			"importer saelens: does not recognise",
		],
		[
			"recognition of everything",
			format({}, { detect: async () => true }),
			"detect must answer false, not true",
		],
		[
			"detection that fails",
			format({}, { detect: async (path) => path.endsWith("written") || Promise.reject("no") }),
			"detect must answer false, not an error",
		],
		["other codes", format({}, { read: scaled(1.01) }), "the SAE that saelens reads back: codes differ"],
		["NaN", format({}, { read: scaled(Number.NaN) }), "W_enc holds NaN or infinity"],
		[
			"a stack trace for a damaged file",
			format(
				{},
				{ read: (path) => importer.read(path).catch(() => Promise.reject(new TypeError("undefined"))) },
			),
			"is missing: it must be refused with a SaeError",
		],
	])("with %s", async (_, broken, complaint) => {
		await expect(checkExporter(broken, { gpu })).rejects.toThrow(complaint);
	});

	test("that reads a half of itself as another SAE", async () => {
		const path = join(folder, "numbers");
		await writeFile(path, "1 2 3 4 5 6 7 8");
		const model = await importer.read(join(import.meta.dir, "../fixtures/saelens-topk"));
		const lenient = format(
			{},
			{
				detect: async (file) =>
					(
						await Bun.file(file)
							.text()
							.catch(() => "")
					).startsWith("1 "),
				read: async (file) => {
					const b_dec = Float32Array.from({ length: model.d_in }, () => 0);
					b_dec.set((await Bun.file(file).text()).trim().split(" ").map(Number).slice(0, model.d_in));
					return { ...model, tensors: { ...model.tensors, b_dec: { shape: [model.d_in], data: b_dec } } };
				},
			},
		);
		await expect(checkImporter(lenient, { gpu, path })).rejects.toThrow(
			"half of the file is missing: it reads as another SAE",
		);
	});
});

describe("a trainer", () => {
	const sound = partOf(trainer, "trainer");
	const options = { batch_size: 128, tokens: 6144, log_every: 4, lr: 0.01, shuffle_buffer: 1000 };
	const broken = (train: TrainerContribution["train"]) => plugin({ ...sound, train });
	let runs = 0;

	test.each<[string, TrainerContribution["train"], string]>([
		[
			"no SAE at the end",
			(job, chosen, context) =>
				sound.train(
					{ ...job, saes: job.saes.map((sae) => ({ ...sae, save: async () => {} })) },
					chosen,
					context,
				),
			"it must save each SAE once, not: none",
		],
		[
			"no reports",
			(job, chosen, context) => sound.train({ ...job, report: async () => {} }, chosen, context),
			"reports 0 steps",
		],
		[
			"an infinite loss",
			(job, chosen, context) =>
				sound.train(
					{ ...job, report: (metrics) => job.report({ ...metrics, loss: Infinity }) },
					chosen,
					context,
				),
			"reports loss Infinity",
		],
		[
			"a loss that rises",
			(job, chosen, context) =>
				sound.train(
					{ ...job, report: (metrics) => job.report({ ...metrics, loss: metrics.step }) },
					chosen,
					context,
				),
			"the loss does not fall",
		],
		[
			"another seed each time",
			(job, chosen, context) => sound.train(job, { ...chosen, seed: runs++ }, context),
			"gives other SAEs the second time",
		],
		[
			"deafness",
			(job, chosen, context) =>
				sound.train(job, chosen, { ...context, signal: new AbortController().signal }),
			"goes on when context.signal is aborted",
		],
		[
			"a resumption from the beginning of the rest",
			(job, chosen, context) =>
				sound.train({ ...job, resume: false }, job.resume ? { ...chosen, seed: 1 } : chosen, context),
			"resumed ends with other SAEs",
		],
	])("with %s", async (_, train, complaint) => {
		await expect(checkTrainer(broken(train), { gpu, options })).rejects.toThrow(complaint);
	});
});

describe("an architecture", () => {
	const sound = partOf(topk, "architecture");
	const broken = (change: Partial<ArchitectureContribution>) => plugin({ ...sound, ...change });
	const described = (change: (spec: TrainingSpec) => object) =>
		broken({ training: (options, sizes) => change(sound.training(options, sizes)) as TrainingSpec });
	const W_dec = (spec: TrainingSpec) => spec.parameters.find(({ name }) => name === "W_dec")!;
	let calls = 0;

	test.each<[string, Plugin, string]>([
		["a misspelt part", described((spec) => ({ ...spec, los: [] })), 'training(): Unrecognized key: "los"'],
		[
			"an unknown target",
			described((spec) => ({ ...spec, loss: [{ ...spec.loss[0], target: "input" }] })),
			"training(): loss.0.target: ",
		],
		[
			"two parameters of one name",
			described((spec) => ({ ...spec, parameters: [...spec.parameters, W_dec(spec)] })),
			"two parameters are called W_dec",
		],
		[
			"a copy of nothing",
			described((spec) => ({ ...spec, parameters: spec.parameters.filter((one) => one !== W_dec(spec)) })),
			"W_enc copies W_dec, which is no parameter before it",
		],
		[
			"a derivative by nothing",
			described((spec) => ({
				...spec,
				revival: { weight: 1, threshold: "1.0", dthreshold: { tau: "1.0" } },
			})),
			"a derivative by tau, which is no parameter",
		],
		[
			"another description each time",
			described((spec) => ({ ...spec, loss: [{ ...spec.loss[0], weight: ++calls }] })),
			"gives another description the second time",
		],
		[
			"nothing to learn",
			described((spec) => ({ ...spec, loss: [{ ...spec.loss[0], weight: 0 }] })),
			"the loss does not fall: 0 in the first quarter",
		],
		["a k that is no number", broken({ settings: () => ({ k: "four" }) }), "a topk SAE needs a whole k"],
		[
			"an SAE that nobody can run",
			broken({ finish: (model) => ({ ...model, architecture: "odd" }) }),
			"is of the architecture odd, which no plugin can run",
		],
		[
			"an SAE without a decoder",
			broken({ finish: ({ tensors: { W_dec: _, ...tensors }, ...model }) => ({ ...model, tensors }) }),
			"W_dec must have the shape [64, 16], not [none]",
		],
		[
			"training that starts from somewhere else",
			broken({
				restore: ({ tensors }) => ({
					...tensors,
					W_dec: { ...tensors.W_dec!, data: tensors.W_dec!.data.toReversed() },
				}),
			}),
			"training on from the saved SAE begins with FVU",
		],
	])("with %s", async (_, one, complaint) => {
		await expect(checkArchitecture(one, { gpu, options: { k: 4 } })).rejects.toThrow(complaint);
	});
});

describe("a package", () => {
	const provides = (...keys: string[]) => ({
		sae: { apiVersion: 1, provides: keys },
		keywords: ["sae-plugin"],
	});
	test.each<[string, string, Readonly<Record<string, unknown>>, string]>([
		[
			"another name",
			"plugin-a",
			provides("source:sevens", "source:file"),
			"commands find packages called sae-plugin-*",
		],
		[
			"no keyword",
			"sae-plugin-a",
			{ ...provides("source:sevens", "source:file"), keywords: [] },
			"its keywords lack sae-plugin",
		],
		[
			"something forgotten",
			"sae-plugin-b",
			provides("source:sevens"),
			"provides in package.json lacks source:file",
		],
		[
			"something too much",
			"sae-plugin-c",
			provides("source:sevens", "source:eights"),
			"lists the source eights but does not contribute it",
		],
	])("with %s", async (_, name, json, complaint) => {
		await expect(checkPackage(await writePackage(folder, name, { json }))).rejects.toThrow(complaint);
	});

	test("that is sound passes", async () =>
		checkPackage(
			await writePackage(folder, "sae-plugin-d", { json: provides("source:sevens", "source:file") }),
		));
});

/** The plugins that come with saeflow keep the promises that they ask of others. */
import { afterAll, beforeAll, describe, test } from "bun:test";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { z } from "zod";
import { core } from "../../core/api.ts";
import { writeArrowFile } from "../../core/arrow/writer.ts";
import { toyRows, toySae, toyStream } from "../../core/conformance/bench.ts";
import {
	checkArchitecture,
	checkEvaluator,
	checkExporter,
	checkImporter,
	checkInterpreter,
	checkSource,
	checkTrainer,
} from "../../core/conformance/index.ts";
import { writeSafetensors } from "../../core/files/safetensors.ts";
import { type Gpu, openGpu } from "../../core/gpu/device.ts";
import { loadSae } from "../../core/load.ts";
import type { ContributionKind, Plugin } from "../../core/plugin.ts";
import { plugins } from "../../plugins/index.ts";
import { layerStream } from "../plugins/features.ts";
import { chatServer, oracle } from "../plugins/interpret/chat-server.ts";
import { labelledStream } from "../plugins/labelled.ts";

const load = async (name: string): Promise<Plugin> =>
	(await plugins.find((entry) => entry.name === name)!.load()).default;

/** Every contribution of a kind, with the plugin that it is of. */
const named = (kind: ContributionKind) =>
	plugins.flatMap(({ name, provides }) =>
		provides
			.filter((key) => key.startsWith(`${kind}:`))
			.map((key) => [key.slice(kind.length + 1), name] as const),
	);

let gpu: Gpu;
let folder: string;
beforeAll(async () => {
	gpu = await openGpu();
	folder = await mkdtemp(join(tmpdir(), "sae-conforming-"));
});
afterAll(async () => {
	gpu.close();
	await rm(folder, { recursive: true });
});

describe("sources", () => {
	test("file, with Arrow", async () => {
		const path = join(folder, "rows.arrow");
		await writeArrowFile(toyStream(toyRows(700, 5), 5), path);
		await checkSource(await load("file"), { options: { paths: [path] } });
	});

	test("file, with safetensors that are shuffled over several passes", async () => {
		const path = join(folder, "rows.safetensors");
		const tensor = { name: "rows", dtype: "f32", shape: [300, 5], data: toyRows(300, 5) } as const;
		await writeSafetensors(path, [tensor]);
		const options = { paths: [path], epochs: 2, shuffle_buffer: 128 };
		await checkSource(await load("file"), { options });
	});

	test("synthetic", async () =>
		checkSource(await load("synthetic"), { options: { rows: 900, d_in: 6, batch_rows: 250 } }));

	test("synthetic, of which only the first rows are looked at", async () =>
		checkSource(await load("synthetic"), { options: { d_in: 4, noise: 0.1 }, rows: 500 }));
});

describe("formats", () => {
	test.each(["saelens", "native"])("%s writes", async (name) =>
		checkExporter(await load("saelens"), { gpu, name }),
	);

	test("saelens writes narrower floats", async () =>
		checkExporter(await load("saelens"), {
			gpu,
			name: "saelens",
			options: { dtype: "float16" },
			tolerance: 0.01,
		}));

	test("saelens is read", async () =>
		checkImporter(await load("saelens"), {
			gpu,
			path: join(import.meta.dir, "../fixtures/saelens-topk"),
		}));

	const OTHERS = join(import.meta.dir, "../fixtures/formats");

	test.each([
		["dictionary-learning", "dictionary-learning/topk"],
		["sparsify", "sparsify/topk"],
		["gemma-scope", "gemma-scope/1"],
		["safetensors", "openai/topk/3.pt"],
	])("%s writes", async (name, fixture) =>
		checkExporter(await load(name), { gpu, name, model: await loadSae(join(OTHERS, fixture)) }),
	);

	test.each([
		["dictionary-learning", "dictionary-learning", "matryoshka"],
		["sparsify", "sparsify", "groupmax"],
		["openai", "openai", "topk/3.pt"],
		["gemma-scope", "gemma-scope", "1/params.npz"],
		["gemma-scope", "gemma-scope", "2-transcoder"],
		["llama-scope", "llama-scope", "1"],
		["llamascopium", "llama-scope", "llamascopium"],
	])("%s is read", async (name, plugin, fixture) => {
		// Without what the fixture's own tests compare with.
		const path = join(folder, `${name} ${fixture.replace("/", " ")}`);
		await cp(join(OTHERS, plugin, fixture), path, { recursive: true });
		await rm(join(path, "expected.json"), { force: true }).catch(() => {});
		await checkImporter(await load(plugin), { gpu, name, path });
	});
});

describe("evaluators", () => {
	test("reconstruction", async () => checkEvaluator(await load("eval-reconstruction"), { gpu }));

	test("layer-distance", async () => {
		const shape = { features: 12, active: 3, rows: 512, seed: 1 };
		const stream = (width: number) => layerStream({ name: "activation", width, scale: 1 }, shape, 2);
		await checkEvaluator(await load("eval-layer-distance"), { gpu, stream });
	});

	test.each(["geometry", "dark-matter", "mdl", "families", "retrieval"])("%s", async (name) =>
		checkEvaluator(await load(`eval-${name}`), { gpu }),
	);

	test.each([
		["probing", "label", {}],
		["tpp", "label", {}],
		["absorption", "word", { split_by: "rows" }],
	])("%s", async (name, option, others) => {
		const labels = Array.from({ length: 512 }, (_, i) => ["ant", "bee", "cat"][i % 3]!);
		const rowsOf = (data: Float32Array, width: number) =>
			Array.from({ length: 512 }, (_, i) => [...data.subarray(i * width, (i + 1) * width)]);
		const stream = (width: number) => labelledStream(rowsOf(toyRows(512, width), width), { kind: labels });
		const options = { [option]: "kind", ...others };
		const wrong = [{}, { [option]: "missing" }];
		await checkEvaluator(await load(`eval-${name}`), { gpu, options, stream, wrong });
	});

	test("recovery", async () => {
		const truth = join(folder, "truth.safetensors");
		const { data, shape } = toySae(12, 20, 1).tensors.W_dec!;
		await writeSafetensors(truth, [{ name: "features", dtype: "f32", shape, data }]);
		const wrong = [{ truth: join(folder, "missing") }, {}];
		await checkEvaluator(await load("eval-recovery"), { gpu, options: { truth }, wrong });
	});
});

describe("interpreters", () => {
	test.each(["ngram", "tokens"])("%s", async (name) =>
		checkInterpreter(await load(`interpret-${name}`), { gpu, wrong: [{ share: 2, active_share: 2 }] }),
	);

	test("llm", async () => {
		const server = chatServer(oracle);
		const answers = join(folder, "answers.jsonl");
		const options = { base_url: server.url, model: "scripted", answers, tests: "detection,fuzzing,intruder" };
		const wrong = [
			{ ...options, answers: folder },
			{ ...options, tests: "none" },
		];
		await checkInterpreter(await load("interpret-llm"), { gpu, options, wrong });
		await server.stop();
	});
});

test("the trainer", async () =>
	checkTrainer(await load("trainer"), {
		gpu,
		options: { batch_size: 128, tokens: 6144, log_every: 4, lr: 0.01, shuffle_buffer: 1000 },
	}));

describe("architectures", () => {
	test.each(named("architecture"))("%s", async (name, plugin) => {
		const own = await load(plugin);
		const { options } = own
			.contributes(core)
			.find((one) => one.kind === "architecture" && one.name === name)!;
		// Their own defaults are for SAEs of thousands of latents.
		await checkArchitecture(own, {
			gpu,
			name,
			options: "k" in (options as z.ZodObject).shape ? { k: 4 } : {},
		});
	});
});

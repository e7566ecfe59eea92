/**
 * A whole plugin: a source, an architecture and an exporter. docs/plugins.md explains it; its test runs it.
 *
 * It imports types and `definePlugin`, which is the identity. Everything else comes as the argument of
 * `contributes`, so that a plugin never holds a second copy of saeflow.
 */
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { type ActivationSource, type Core, definePlugin, type LossTerm, type SaeModel } from "saeflow";

export default definePlugin({
	name: "example",
	apiVersion: 1,
	contributes(core) {
		const { z } = core;
		return [
			{
				kind: "source",
				name: "numbers",
				summary: "text files with a row of numbers on each line",
				options: z.object({
					path: z.string().describe("File to read"),
					d_in: z.int().min(1).describe("Numbers per line"),
				}),
				positional: { key: "path", variadic: false },
				open: async (options: NumbersOptions) => openNumbers(core, options),
			},
			{
				kind: "architecture",
				name: "plain-topk",
				summary: "keeps the k largest pre-activations of each row, and nothing else",
				options: z.object({ k: z.int().min(1).max(512).default(32).describe("Latents kept per row") }),
				training: ({ k }: { k: number }) => ({
					parameters: [
						{
							name: "W_dec",
							shape: ["d_sae", "d_in"],
							init: { kind: "random_rows" },
							constraint: "unit_rows",
						},
						{ name: "W_enc", shape: ["d_sae", "d_in"], init: { kind: "copy", of: "W_dec", scale: 1 } },
						{ name: "b_enc", shape: ["d_sae"], init: { kind: "constant" } },
						{ name: "b_dec", shape: ["d_in"], init: { kind: "data_centre", method: "mean" } },
					],
					apply_b_dec_to_input: true,
					loss: [reconstruction(k)],
				}),
				settings: ({ k }: { k: number }) => ({ k }),
				inference: ({ settings }, { k }) => ({ select: { kind: "topk", k: k ?? Number(settings.k) } }),
			},
			{
				kind: "exporter",
				name: "dictionary",
				summary: "the decoder's rows alone, as one safetensors file",
				options: z.object({}),
				async write({ architecture, tensors: { W_dec } }: SaeModel, path: string) {
					if (!W_dec) throw new core.SaeError(`${path}: a ${architecture} SAE has no W_dec to export`);
					await core.writeSafetensors(path, [{ name: "W_dec", dtype: "f32", ...W_dec }]);
				},
			},
		];
	},
});

interface NumbersOptions {
	readonly path: string;
	readonly d_in: number;
}

const ROWS_PER_BATCH = 1024;

/** Rows of a source have fixed numbers, so that a consumer that was interrupted can ask for the rest. */
function openNumbers(core: Core, { path, d_in }: NumbersOptions): ActivationSource {
	const schema = core.activationsSchema({ width: d_in, type: "float32" });
	const batchOf = (rows: readonly Float32Array[], cursor: number) => {
		const data = new Float32Array(rows.length * d_in);
		for (const [i, row] of rows.entries()) data.set(row, i * d_in);
		return core.activationsBatch(
			schema,
			{ data, rows: rows.length, width: d_in, type: "float32" },
			{},
			cursor,
		);
	};
	return {
		schema,
		async *batches(start) {
			let number = 0;
			let rows: Float32Array[] = [];
			for await (const line of createInterface({ input: createReadStream(path) })) {
				number++;
				if (number <= start) continue;
				const row = Float32Array.from(line.trim().split(/[\s,]+/), Number);
				if (row.length !== d_in) {
					throw new core.SaeError(`${path}: line ${number} has ${row.length} numbers, not ${d_in}`);
				}
				rows.push(row);
				if (rows.length === ROWS_PER_BATCH) {
					yield batchOf(rows, number - rows.length);
					rows = [];
				}
			}
			if (rows.length > 0) yield batchOf(rows, number - rows.length);
		},
	};
}

/** One term: the squared error of the reconstruction from the k largest pre-activations. */
function reconstruction(k: number): LossTerm {
	return {
		name: "reconstruction",
		latents: "all",
		select: { kind: "topk", k },
		target: "data",
		bias: true,
		reduction: "sum",
		weight: 1,
	};
}

/** `sae activations synthetic`: activations whose true features are known, to measure what an SAE recovers. */
import type { RecordBatch, Schema } from "apache-arrow";
import {
	type ActivationSource,
	type Context,
	type Core,
	definePlugin,
	type SourceContribution,
} from "saeflow";
import type { z } from "zod";
import { dictionary, type Generator, rowWriter } from "./synthetic/generator.ts";

export default definePlugin({
	name: "synthetic",
	apiVersion: 1,
	contributes: (core) => [syntheticSource(core)],
});

/** Schema metadata: the generator's settings, as JSON. */
const GENERATOR_KEY = "sae.generator";
const MAX_DICTIONARY_VALUES = 2 ** 28;

function syntheticOptions({ z, partOption }: Core) {
	const range = /^(\d*\.?\d+):(\d*\.?\d+)$/;
	return z
		.object({
			d_in: z.int().min(1).max(65536).default(64).describe("Dimensions of an activation"),
			features: z.int().min(1).max(1_048_576).default(256).describe("True features: random unit vectors"),
			active: z.int().min(1).optional().describe("Exactly so many features active in each row (default 4)"),
			probability: z
				.number()
				.gt(0)
				.lt(1)
				.optional()
				.describe("Instead of --active: each feature active with this probability"),
			correlation: z
				.number()
				.min(0)
				.lt(1)
				.default(0)
				.describe("Share of the variance behind the features' activity that comes from common causes"),
			magnitude: z
				.string()
				.regex(range, "must be like 0.5:1.5")
				.default("0.5:1.5")
				.transform((text) => {
					const [, low, high] = range.exec(text)!;
					return { low: Number(low), high: Number(high) };
				})
				.describe("Active features take values uniform on LO:HI"),
			noise: z.number().min(0).default(0).describe("Standard deviation of Gaussian noise in each dimension"),
			rows: z.int().min(0).default(100_000).describe("Rows to generate"),
			shard: partOption,
			seed: z.int().min(0).default(0).describe("Seed of the features and of the rows"),
			truth: z
				.string()
				.optional()
				.meta({ hint: "FILE" })
				.describe("Write the true features [features, d_in] to this safetensors file"),
			batch_rows: z.int().min(1).max(1_000_000).default(2048).describe("Rows per batch of the stream"),
		})
		.refine((options) => options.active === undefined || options.probability === undefined, {
			message: "give --active or --probability, not both",
		})
		.refine((options) => (options.active ?? 0) <= options.features, {
			message: "--active can't be more than --features",
		})
		.refine((options) => options.magnitude.low <= options.magnitude.high, {
			message: "--magnitude LO:HI needs LO ≤ HI",
		})
		.refine((options) => options.features * options.d_in <= MAX_DICTIONARY_VALUES, {
			message: `--features × --d-in can't be more than ${MAX_DICTIONARY_VALUES}`,
		});
}

type Options = z.infer<ReturnType<typeof syntheticOptions>>;

function syntheticSource(core: Core): SourceContribution<Options> {
	return {
		kind: "source",
		name: "synthetic",
		summary: "sparse sums of random unit features, which are known and can be compared with an SAE's",
		options: syntheticOptions(core),
		open: (options, context) => openGenerator(core, options, context),
	};
}

async function openGenerator(
	core: Core,
	options: Options,
	{ command, log }: Context,
): Promise<ActivationSource> {
	const part = core.partOf(options.shard, log);
	const { d_in, features, correlation, magnitude, noise, seed } = options;
	const activity =
		options.probability === undefined
			? { count: options.active ?? Math.min(4, features) }
			: { probability: options.probability };
	const generator: Generator = {
		d_in,
		features,
		support: { ...activity, correlation },
		magnitude,
		noise,
		seed,
	};
	const settings = { [GENERATOR_KEY]: JSON.stringify(generator) };
	const D = dictionary(core, generator);
	if (options.truth !== undefined) {
		const tensor = { name: "features", dtype: "f32", shape: [features, d_in], data: D } as const;
		await core.writeSafetensors(options.truth, [tensor], { ...settings, [core.META.command]: command });
	}
	const metadata = { ...settings, [core.META.command]: command, ...core.partMetadata(part) };
	const schema = core.activationsSchema({ width: d_in, type: "float32", metadata });
	const { begin, end } = core.rowsOfPart(part, options.rows);
	const rows = end - begin;
	return {
		schema,
		rows,
		batches(start) {
			if (start > rows) throw core.usageError(`--start ${start}: there are only ${rows} rows`);
			const { batch_rows } = options;
			return generate(core, schema, generator, D, { begin, start, rows, batch_rows });
		},
	};
}

async function* generate(
	core: Core,
	schema: Schema,
	generator: Generator,
	D: Float32Array,
	{ begin, start, rows, batch_rows }: { begin: number; start: number; rows: number; batch_rows: number },
): AsyncGenerator<RecordBatch> {
	const width = generator.d_in;
	const write = rowWriter(core, generator, D);
	for (let row = start; row < rows; row += batch_rows) {
		const count = Math.min(batch_rows, rows - row);
		const data = new Float32Array(count * width);
		write(data, begin + row, count);
		yield core.activationsBatch(schema, { data, rows: count, width, type: "float32" }, {}, row);
	}
}

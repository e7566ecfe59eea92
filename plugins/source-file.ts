/** `sae activations file`: activations that are already in files. */
import { Schema } from "apache-arrow";
import {
	type ActivationSource,
	type Context,
	type Core,
	definePlugin,
	type Part,
	type SourceContribution,
} from "saeflow";
import type { z } from "zod";
import { ahead } from "./file/ahead.ts";
import { emit, emittedRows, type RowOrder } from "./file/order.ts";
import { openSegment, type Segment } from "./file/segments.ts";
import { isFolder, openShards } from "./file/shards.ts";

export default definePlugin({
	name: "file",
	apiVersion: 1,
	contributes: (core) => [fileSource(core)],
});

function fileOptions({ z, partOption }: Core) {
	const range = /^(\d*):(\d*)$/;
	return z.object({
		paths: z
			.array(z.string())
			.min(1)
			.describe(
				"Files or globs: Arrow, safetensors (or its index), .npy, .npz, IDX; or folders of shards, and folders of those",
			),
		tensor: z
			.string()
			.optional()
			.describe("Array to read, where a file has several; all dimensions but the last count rows"),
		token_tensor: z.string().optional().describe("Array of token ids, one per row, for the column token"),
		rows: z
			.string()
			.regex(range, "must be like 0:1000, :1000 or 1000:")
			.optional()
			.transform((text) => {
				const [, begin = "", end = ""] = range.exec(text ?? ":")!;
				return { begin: Number(begin), end: end === "" ? Number.POSITIVE_INFINITY : Number(end) };
			})
			.describe("Rows A:B of the joined files, B exclusive; the default is all"),
		shard: partOption,
		epochs: z.int().min(1).default(1).describe("How many times to go through those rows"),
		shuffle_buffer: z
			.int()
			.min(0)
			.default(0)
			.describe("Shuffle within blocks of this many rows, anew in each epoch; 0 keeps the order"),
		shuffle_run: z
			.int()
			.min(0)
			.optional()
			.describe(
				"Before that shuffle, bring runs of this many rows from everywhere into random order; 0 doesn't. The default is 1024 for shards, else 0",
			),
		seed: z.int().min(0).default(0).describe("Seed of the shuffle"),
		verify: z
			.boolean()
			.default(false)
			.describe("Compare all shards with their checksums before the first row"),
		limit: z.int().min(0).optional().describe("Stop after this many rows in all"),
		batch_rows: z.int().min(1).max(1_000_000).default(2048).describe("Rows per batch of the stream"),
	});
}

type Options = z.infer<ReturnType<typeof fileOptions>>;

function fileSource(core: Core): SourceContribution<Options> {
	return {
		kind: "source",
		name: "file",
		summary: "rows of Arrow, safetensors, NumPy or IDX files, told apart by their content",
		options: fileOptions(core),
		positional: { key: "paths", variadic: true },
		open: (options, context) => openFiles(core, options, context),
	};
}

async function openFiles(core: Core, options: Options, context: Context): Promise<ActivationSource> {
	const part = core.partOf(options.shard, context.log);
	const { segments, shards } = await openSegments(core, options, context);
	const schema = commonSchema(core, segments, options.epochs, part, context.command);
	const runRows = options.shuffle_run ?? (shards ? core.RUN_ROWS : 0);
	const order = rowOrder(core, segments, { ...options, runRows, part });
	const rows = emittedRows(order);
	return {
		schema,
		rows,
		batches(start) {
			if (start > rows) throw core.usageError(`--start ${start}: there are only ${rows} rows`);
			return ahead(emit(core, schema, segments, order, start));
		},
	};
}

async function openSegments(core: Core, options: Options, context: Context) {
	const { tensor, token_tensor: tokenTensor, batch_rows: batchRows, verify } = options;
	const paths = await core.expandPaths(options.paths);
	const folders = await Promise.all(paths.map(isFolder));
	if (folders.every(Boolean)) {
		const segments = await openShards(core, paths, { tensor, tokenTensor, verify }, context);
		return { segments, shards: true };
	}
	if (folders.some(Boolean)) throw core.usageError("give files or folders of shards, not both");
	if (verify) throw core.usageError("--verify needs folders of shards, whose manifests have checksums");
	const segments: Segment[] = [];
	for (const path of paths) {
		segments.push(await openSegment(core, path, { tensor, tokenTensor, batchRows }));
	}
	return { segments, shards: false };
}

function rowOrder(
	core: Core,
	segments: readonly Segment[],
	options: Options & { readonly runRows: number; readonly part: Part | undefined },
): RowOrder {
	const total = segments.reduce((sum, segment) => sum + segment.rows, 0);
	const { begin } = options.rows;
	const end = Number.isFinite(options.rows.end) ? options.rows.end : total;
	if (total === 0) throw new core.SaeError(`${segments.map(({ path }) => path).join(", ")}: holds no rows`);
	if (end > total || begin >= end) {
		throw core.usageError(
			`--rows ${begin}:${end}: there are ${total} rows, numbered from 0; A must be below B`,
		);
	}
	const own = core.rowsOfPart(options.part, end - begin);
	return {
		begin: begin + own.begin,
		end: begin + own.end,
		runRows: options.runRows,
		epochs: options.epochs,
		shuffleBuffer: options.shuffle_buffer,
		seed: options.seed,
		limit: options.limit ?? Number.POSITIVE_INFINITY,
		batchRows: options.batch_rows,
	};
}

/** The first file's schema, which the others must share, as that of an activations stream. */
function commonSchema(
	core: Core,
	segments: readonly Segment[],
	epochs: number,
	part: Part | undefined,
	command: string,
): Schema {
	const [first, ...others] = segments as [Segment, ...Segment[]];
	const columns = ({ schema }: Segment) => schema.fields.map((field) => `${field}`).join(", ");
	for (const other of others) {
		if (columns(other) !== columns(first)) {
			throw new core.SaeError(
				`${other.path}: has the columns (${columns(other)}), but ${first.path} has (${columns(first)}); join files of one shape`,
			);
		}
	}
	const { fields, metadata, dictionaries } = first.schema;
	// One file may be a part of what is joined here.
	const kept = new Map([...metadata].filter(([key]) => key !== core.META.part));
	return core.labelActivations(new Schema(fields, kept, dictionaries), {
		[core.META.command]: command,
		...core.partMetadata(part),
		...(epochs > 1 ? { [core.META.epochs]: String(epochs) } : {}),
	});
}

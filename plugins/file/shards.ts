/** Folders of shards as runs of rows. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { RecordBatch } from "apache-arrow";
import type { Context, Core, ShardFolder } from "saeflow";
import type { Segment, SegmentOptions } from "./segments.ts";

export async function isFolder(path: string): Promise<boolean> {
	return stat(path).then(
		(status) => status.isDirectory(),
		() => false,
	);
}

/** The shards of several folders, and of the folders in them, joined in the order of their parts. */
export async function openShards(
	core: Core,
	paths: readonly string[],
	options: Pick<SegmentOptions, "tensor" | "tokenTensor"> & { readonly verify: boolean },
	context: Pick<Context, "log" | "signal">,
): Promise<Segment[]> {
	if (options.tokenTensor !== undefined) {
		throw core.usageError("shards bring all their columns along; leave out --token-tensor");
	}
	const found: ShardFolder[] = [];
	for (const path of paths) found.push(...(await core.findShards(path)));
	const folders = core.joinShards(found);
	await core.checkShards(folders, options.verify, context);
	const shards = folders.flatMap(({ path, manifest }) =>
		manifest.shards.map(({ file, rows }) => ({ path: join(path, file), rows, columns: manifest.columns })),
	);
	const [first] = shards;
	if (!first) throw new core.SaeError(`${paths.join(", ")}: holds no rows`);
	const { schema } = await core.openArrow(first.path).then(async (stream) => {
		await stream.batches[Symbol.asyncIterator]().return?.();
		return stream;
	});
	if (options.tensor !== undefined) core.findVectorField(schema, options.tensor);

	return shards.map(({ path, rows, columns }): Segment => {
		const check = (found: Segment["schema"], count: number) => {
			const own = JSON.stringify(core.columnsOf(found));
			if (own === JSON.stringify(columns) && count === rows) return;
			throw new core.SaeError(
				`${path}: holds ${count} rows of ${own}, but its manifest says ${rows} of ${JSON.stringify(columns)}; make the shard again`,
			);
		};
		return {
			path,
			schema,
			rows,
			async *batches(start): AsyncGenerator<RecordBatch> {
				const stream = await core.openArrow(path, start);
				let count = start;
				for await (const batch of stream.batches) {
					yield batch;
					count += batch.numRows;
				}
				check(stream.schema, count);
			},
			...(schema.dictionaries.size === 0 && {
				async openRows() {
					const file = await core.openArrowFile(path);
					await Promise.try(check, file.schema, file.rows).catch((error) => {
						return file.close().then(() => Promise.reject(error));
					});
					return file;
				},
			}),
		};
	});
}

import { afterAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openArrow } from "../../core/arrow/reader.ts";
import { writeArrowFile } from "../../core/arrow/writer.ts";
import { isSaeError } from "../../core/errors.ts";
import { type RowReaderOptions, readRows } from "../../core/rows.ts";
import type { RecordStream } from "../../core/stream.ts";
import { severalColumns } from "./streams.ts";

const folder = await mkdtemp(join(tmpdir(), "sae-threads-"));
afterAll(() => rm(folder, { recursive: true }));

const SIZES = [7, 0, 40, 3, 1, 14, 20];
const OPTIONS: RowReaderOptions = {
	columns: ["b", "a"],
	targets: ["a"],
	layers: "layer",
	batchSize: 6,
	shuffleBlock: 16,
	seed: 5,
};

async function saved(name: string, stream: RecordStream): Promise<string> {
	const path = join(folder, name);
	await writeArrowFile(stream, path);
	return path;
}

/** All that a reader gives, by batch. */
async function read(path: string, options: Partial<RowReaderOptions>) {
	const batches = [];
	for await (const batch of readRows(await openArrow(path), { ...OPTIONS, ...options })) {
		const { data, targets, layers } = batch;
		batches.push({
			...batch,
			data: Array.from(data),
			targets: { ...targets, data: Array.from(targets?.data ?? []) },
			layers: Array.from(layers ?? []),
		});
	}
	return batches;
}

describe("threads that read", () => {
	test.each([
		["shuffled", 3, {}],
		["from the middle of a block", 2, { start: 37 }],
		["in the stream's order", 2, { shuffleBlock: 0, start: 5 }],
		["of whole batches alone, a block each", 1, { shuffleBlock: 6, dropShort: true }],
		["blocks that are smaller than a batch", 2, { shuffleBlock: 4, batchSize: 9 }],
		["more of them than blocks", 2, { shuffleBlock: 100 }],
	] as const)("give the same rows in the same order: %s", async (_, threads, options) => {
		const types = ["float16", "float16"] as const;
		const path = await saved("rows.arrow", severalColumns(SIZES, { types }));
		const expected = await read(path, { ...options, threads: 0 });
		expect(expected.length).toBeGreaterThan(5);
		expect(await read(path, { ...options, threads })).toEqual(expected);
	});

	test("the order is what it has always been", async () => {
		const path = await saved("order.arrow", severalColumns([20]));
		for (const threads of [0, 1]) {
			const [batch] = await read(path, { columns: ["a"], batchSize: 20, shuffleBlock: 10, threads });
			const rows = batch!.data.filter((_, i) => i % 2 === 0);
			expect(rows).toEqual([3, 6, 9, 7, 8, 4, 5, 1, 2, 0, 11, 15, 14, 12, 16, 19, 17, 10, 18, 13]);
		}
	});

	test("batches stay valid until the one after the next is asked for", async () => {
		const path = await saved("kept.arrow", severalColumns([64]));
		const options = { ...OPTIONS, batchSize: 8, threads: 2 };
		const kept = (await read(path, options)).map(({ data }) => data);
		const batches = readRows(await openArrow(path), options);
		let before: Float32Array | Uint16Array | undefined;
		for (let i = 0; i < kept.length; i++) {
			const { data } = (await batches.next()).value!;
			if (before) expect(Array.from(before)).toEqual(kept[i - 1]!);
			before = data;
		}
		await batches.return(undefined);
	});

	test("their errors are those of the reader", async () => {
		const path = await saved("nan.arrow", severalColumns(SIZES, { spoil: 50 }));
		for (const threads of [0, 2]) {
			const failed = await read(path, { threads }).catch((error: Error) => error);
			if (!isSaeError(failed)) throw new TypeError("no SaeError was thrown");
			expect(failed.message).toStartWith("column b: row 50 holds NaN or infinity (value 2)");
			expect(failed.exitCode).toBe(3);
		}
		await expect(read(path, { columns: ["c"], threads: 1 })).rejects.toThrow("no column c");
	});

	test("end when nobody wants the rest", async () => {
		const path = await saved("early.arrow", severalColumns(SIZES));
		const batches = readRows(await openArrow(path), { ...OPTIONS, threads: 2 });
		expect((await batches.next()).value!.rows).toBe(6);
		await batches.return(undefined);
		expect((await batches.next()).done).toBe(true);
	});

	const piped = (path: string, threads: number, most = 1000, after = "") =>
		Bun.$`sh -c ${`(cat ${path} ${after}) | ${process.execPath} ${join(import.meta.dir, "read-stdin.ts")} ${threads} ${most}`}`.text();

	test("read a pipe, too", async () => {
		const path = await saved("piped.arrow", severalColumns(SIZES));
		const expected = await piped(path, 0);
		expect(expected).toStartWith("85 ");
		expect(await piped(path, 1)).toBe(expected);
		expect(await piped(path, 3)).toBe(expected);
		const spoiled = await saved("piped-nan.arrow", severalColumns(SIZES, { spoil: 50 }));
		expect(await piped(spoiled, 1)).toStartWith("column b: row 50 holds NaN or infinity");
	});

	test("leave a pipe that has stalled", async () => {
		const path = await saved("stalled.arrow", severalColumns(SIZES));
		const stalling = join(folder, "part.arrow");
		await Bun.write(stalling, Bun.file(path).slice(0, Bun.file(path).size - 2000));
		expect(await piped(stalling, 1, 6, "; sleep 1")).toStartWith("6 ");
	});
});

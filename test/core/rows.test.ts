import { describe, expect, test } from "bun:test";
import { firstNonFinite } from "../../core/finite.ts";
import { type RowReaderOptions, readRows } from "../../core/rows.ts";
import type { RecordStream } from "../../core/stream.ts";
import { countingStream } from "./streams.ts";

interface Seen {
	readonly position: number;
	/** First value of each row: its number in the stream. */
	readonly rows: number[];
}

async function read(stream: RecordStream, options: Omit<RowReaderOptions, "column">): Promise<Seen[]> {
	const seen: Seen[] = [];
	for await (const batch of readRows(stream, { column: "activation", ...options })) {
		const floats =
			batch.data instanceof Float32Array ? batch.data : new Float16Array(batch.data.slice().buffer);
		const rows = Array.from({ length: batch.rows }, (_, row) => floats[row * batch.width]!);
		for (let row = 0; row < batch.rows; row++) expect(floats[row * batch.width + 3]).toBe(rows[row]! + 0.75);
		seen.push({ position: batch.position, rows });
	}
	return seen;
}

const counting = (n: number, first = 0) => Array.from({ length: n }, (_, i) => first + i);

describe("readRows", () => {
	test("cuts batches of any size into batches of one size", async () => {
		expect(await read(countingStream([1, 5, 2]), { batchSize: 3 })).toEqual([
			{ position: 0, rows: [0, 1, 2] },
			{ position: 3, rows: [3, 4, 5] },
			{ position: 6, rows: [6, 7] },
		]);
		expect((await read(countingStream([1, 5, 2]), { batchSize: 3, dropShort: true })).length).toBe(2);
		expect(await read(countingStream([]), { batchSize: 3 })).toEqual([]);
	});

	test.each(["float32", "float16"] as const)("shuffles %s rows within blocks", async (type) => {
		const seen = await read(countingStream([7, 9, 7], { type }), { batchSize: 5, shuffleBlock: 10, seed: 3 });
		const rows = seen.flatMap((batch) => batch.rows);
		expect(rows).not.toEqual(counting(23));
		for (const [start, end] of [
			[0, 10],
			[10, 20],
			[20, 23],
		] as const) {
			expect(rows.slice(start, end).toSorted((a, b) => a - b)).toEqual(counting(end - start, start));
		}
		const other = await read(countingStream([23], { type }), { batchSize: 5, shuffleBlock: 10, seed: 4 });
		expect(other.flatMap((batch) => batch.rows)).not.toEqual(rows);
	});

	test.each([0, 10])(
		"goes on at every position (shuffle block %i), from the beginning or from the block",
		async (shuffleBlock) => {
			const options = { batchSize: 4, shuffleBlock, seed: 1 };
			const whole = (await read(countingStream([7, 9, 7]), options)).flatMap((batch) => batch.rows);
			for (let start = 0; start < 23; start++) {
				const first = shuffleBlock === 0 ? start : Math.floor(start / shuffleBlock) * shuffleBlock;
				for (const stream of [countingStream([7, 9, 7]), countingStream([23 - first], { first })]) {
					const seen = await read(stream, { ...options, start });
					expect(seen[0]!.position).toBe(start);
					expect(seen.flatMap((batch) => batch.rows)).toEqual(whole.slice(start));
				}
			}
		},
	);

	test("rows without a cursor are counted from 0", async () => {
		const seen = await read(countingStream([7, 9], { cursors: false }), { batchSize: 4, start: 8 });
		expect(seen[0]!.rows).toEqual([8, 9, 10, 11]);
	});

	test("a stream that starts too late says how to start it", async () => {
		const late = countingStream([8], { first: 15 });
		await expect(read(late, { batchSize: 4, shuffleBlock: 10, start: 12 })).rejects.toThrow(
			"the stream starts at row 15, but row 10 is needed: start the producer with --start 10",
		);
	});

	test("a gap is an error", async () => {
		async function* batches() {
			yield* countingStream([4]).batches;
			yield* countingStream([4], { first: 5 }).batches;
		}
		const gap = { schema: countingStream([]).schema, batches: batches() };
		await expect(read(gap, { batchSize: 2 })).rejects.toThrow("jumps to row 5 where row 4 should follow");
	});

	test("a changing width is an error", async () => {
		async function* batches() {
			yield* countingStream([4]).batches;
			yield* countingStream([4], { first: 4, width: 5 }).batches;
		}
		const stream = { schema: countingStream([]).schema, batches: batches() };
		await expect(read(stream, { batchSize: 2 })).rejects.toThrow(
			"changes from float32[4] to float32[5] at row 4",
		);
	});

	test("batches stay valid until the one after the next is asked for", async () => {
		const batches = readRows(countingStream([12]), { column: "activation", batchSize: 3 });
		const first = (await batches.next()).value!;
		await batches.next();
		expect(first.data[0]).toBe(0);
		await batches.next();
		expect(first.data[0]).toBe(6);
	});

	test("does not read further ahead than one block", async () => {
		let read = 0;
		const { schema, batches } = countingStream(new Array(10).fill(4));
		async function* counted() {
			for await (const batch of batches) {
				read++;
				yield batch;
			}
		}
		const rows = readRows(
			{ schema, batches: counted() },
			{ column: "activation", batchSize: 4, shuffleBlock: 8 },
		);
		await rows.next();
		await Bun.sleep(5);
		expect(read).toBe(4);
		await rows.return(undefined);
	});
});

describe("values that are not finite", () => {
	test.each(["float32", "float16"] as const)("%s: every one is found, at every place", (type) => {
		for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
			for (let place = 0; place < 7; place++) {
				const floats =
					type === "float32" ? new Float32Array(7).fill(-65504) : new Float16Array(7).fill(-65504);
				const data = type === "float32" ? (floats as Float32Array) : new Uint16Array(floats.buffer);
				expect(firstNonFinite(data)).toBe(-1);
				floats[place] = bad;
				expect(firstNonFinite(data)).toBe(place);
				expect(firstNonFinite(data.subarray(place))).toBe(0);
			}
		}
	});

	test("end in an error that names the row", async () => {
		const { schema, batches } = countingStream([5, 5]);
		async function* spoiled() {
			for await (const batch of batches) {
				batch.data.children[0]!.children[0]!.values[4 * 2 + 1] = Number.NaN;
				yield batch;
			}
		}
		await expect(read({ schema, batches: spoiled() }, { batchSize: 3 })).rejects.toThrow(
			"column activation: row 2 holds NaN or infinity (value 1)",
		);
	});
});

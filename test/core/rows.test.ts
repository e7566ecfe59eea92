import { describe, expect, test } from "bun:test";
import { Float32, Int64, Uint8, Uint32 } from "apache-arrow";
import { firstNonFinite } from "../../core/finite.ts";
import { type RowReaderOptions, readRows } from "../../core/rows.ts";
import type { RecordStream } from "../../core/stream.ts";
import { countingStream, severalColumns } from "./streams.ts";

interface Seen {
	readonly position: number;
	/** First value of each row: its number in the stream. */
	readonly rows: number[];
}

async function read(stream: RecordStream, options: Omit<RowReaderOptions, "columns">): Promise<Seen[]> {
	const seen: Seen[] = [];
	for await (const batch of readRows(stream, { columns: ["activation"], ...options })) {
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
		const batches = readRows(countingStream([12]), { columns: ["activation"], batchSize: 3 });
		const first = (await batches.next()).value!;
		const second = (await batches.next()).value!;
		// Time for reading ahead.
		await Bun.sleep(5);
		expect(first.data[0]).toBe(0);
		await batches.next();
		await Bun.sleep(5);
		expect(second.data[0]).toBe(3);
		await batches.return(undefined);
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
			{ columns: ["activation"], batchSize: 4, shuffleBlock: 8 },
		);
		await rows.next();
		await Bun.sleep(5);
		expect(read).toBe(4);
		await rows.return(undefined);
	});
});

describe("several columns", () => {
	const floats = ({ data }: { data: Float32Array | Uint16Array }) =>
		Array.from(data instanceof Float32Array ? data : new Float16Array(data.slice().buffer));

	test.each([
		[0, "float32"],
		[7, "float32"],
		[7, "float16"],
	] as const)(
		"lie side by side, with targets and layers (shuffle block %i, %s)",
		async (shuffleBlock, type) => {
			const stream = severalColumns([4, 0, 9, 3], { types: [type, type] });
			const seen: number[] = [];
			for await (const batch of readRows(stream, {
				columns: ["b", "a"],
				targets: ["a"],
				layers: "layer",
				batchSize: 5,
				shuffleBlock,
			})) {
				expect(batch).toMatchObject({ width: 5, widths: [3, 2], type });
				expect(batch.targets).toMatchObject({ width: 2, widths: [2], rows: batch.rows, type });
				const inputs = floats(batch);
				const targets = floats(batch.targets!);
				for (let i = 0; i < batch.rows; i++) {
					const row = targets[2 * i]!;
					seen.push(row);
					expect(targets.slice(2 * i, 2 * i + 2)).toEqual([row, row + 0.5]);
					expect(inputs.slice(5 * i, 5 * i + 5)).toEqual([-row, -row - 0.25, -row - 0.5, row, row + 0.5]);
					expect(batch.layers![i]).toBe(row % 3);
				}
				expect(batch.layers).toHaveLength(batch.rows);
			}
			expect(seen.toSorted((a, b) => a - b)).toEqual(counting(16));
			if (shuffleBlock === 0) expect(seen).toEqual(counting(16));
			else expect(seen).not.toEqual(counting(16));
		},
	);

	test.each([new Uint32(), new Int64(), new Uint8()])("layers may be %s", async (layerType) => {
		const batches = readRows(severalColumns([4], { layerType }), {
			columns: ["a"],
			layers: "layer",
			batchSize: 4,
		});
		expect((await batches.next()).value!.layers).toEqual(Uint32Array.of(0, 1, 2, 0));
	});

	const first = (stream: RecordStream, options: Partial<RowReaderOptions>) =>
		readRows(stream, { columns: ["a"], batchSize: 4, ...options }).next();

	test("of different types are refused", async () => {
		const types = ["float16", "float32"] as const;
		const message = "column b: its vectors are float32, those of a are float16";
		await expect(first(severalColumns([4], { types }), { columns: ["a", "b"] })).rejects.toThrow(message);
		await expect(first(severalColumns([4], { types }), { targets: ["b"] })).rejects.toThrow(message);
	});

	test("errors name the column", async () => {
		await expect(first(severalColumns([2, 2], { spoil: 3 }), { columns: ["a", "b"] })).rejects.toThrow(
			"column b: row 3 holds NaN or infinity (value 2)",
		);
		await expect(first(severalColumns([4]), { columns: ["a", "c"] })).rejects.toThrow("no column c");
		await expect(first(severalColumns([4]), { layers: "a" })).rejects.toThrow("not whole numbers");
		await expect(first(severalColumns([4]), { layers: "depth" })).rejects.toThrow("no column depth");
		await expect(
			first(severalColumns([4], { layerType: new Float32() }), { layers: "layer" }),
		).rejects.toThrow("column layer: is Float32, not whole numbers");
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

/** Streams of other models' activations, as docs/other-models.md lays them out, come through with all their columns. */
import { afterAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type DataType, Field, makeData, Schema, Uint16, Uint32, Utf8, vectorFromArray } from "apache-arrow";
import { vectorData, vectorField } from "../../core/arrow/activations.ts";
import { makeBatch } from "../../core/arrow/batch.ts";
import { vectorColumn } from "../../core/arrow/vectors.ts";
import { writeArrowFile } from "../../core/arrow/writer.ts";
import { META } from "../../core/stream.ts";
import { openSource } from "./sources.ts";

const folder = await mkdtemp(join(tmpdir(), "sae-other-"));
afterAll(() => rm(folder, { recursive: true }));

/** Two images of 3 × 4 places; a vector says where it is from. */
const SIDES = { images: 2, rows: 3, columns: 4 };
const places = Array.from({ length: SIDES.images * SIDES.rows * SIDES.columns }, (_, i) => ({
	image: Math.floor(i / 12),
	row: Math.floor(i / 4) % 3,
	column: i % 4,
	cell: `cell ${i}`,
}));

test.each([0, 7])("grid, image and text columns are kept (shuffle buffer %i)", async (shuffle_buffer) => {
	// As pyarrow's FixedSizeListArray has it: no extension type, values that might be null.
	const vectors = vectorField("activation", 2, "float16");
	const plain = new Field("activation", vectors.type, true);
	const numbers = { image: new Uint32(), row: new Uint16(), column: new Uint16() };
	const fields = Object.entries<DataType>({ ...numbers, cell: new Utf8() }).map(
		([name, type]) => new Field(name, type, true),
	);
	const schema = new Schema([plain, ...fields]);
	const values = new Float16Array(places.flatMap(({ image, row, column }) => [image * 10 + row, column]));
	const rows = places.length;
	const data = { data: new Uint16Array(values.buffer), rows, width: 2, type: "float16" } as const;
	const columns = Object.entries(numbers).map(([name, type]) => {
		const own = places.map((place) => place[name as keyof typeof numbers]);
		return makeData({ type, length: rows, nullCount: 0, data: new type.ArrayType(own) } as never);
	});
	const cells = vectorFromArray(
		places.map(({ cell }) => cell),
		new Utf8(),
	);
	const path = join(folder, `grid-${shuffle_buffer}.arrow`);
	async function* batches() {
		yield makeBatch(schema, rows, [vectorData(plain, data), ...columns, cells.data[0]!]);
	}
	await writeArrowFile({ schema, batches: batches() }, path);

	const source = await openSource("file", { paths: [path], shuffle_buffer });
	expect(source.schema.metadata.get(META.kind)).toBe("activations");
	const found: unknown[] = [];
	for await (const batch of source.batches(0)) {
		const { data } = vectorColumn(batch, "activation");
		const floats = new Float16Array(data.slice().buffer);
		for (let i = 0; i < batch.numRows; i++) {
			const [image, row, column, cell] = ["image", "row", "column", "cell"].map((name) =>
				batch.getChild(name)!.get(i),
			);
			expect([floats[2 * i], floats[2 * i + 1]]).toEqual([image * 10 + row, column]);
			found.push({ image, row, column, cell });
		}
	}
	expect(found).toHaveLength(rows);
	const sorted = found.toSorted((a, b) => place(a) - place(b));
	expect(sorted).toEqual(places);
	expect(found.every((one, i) => one === sorted[i])).toBe(shuffle_buffer === 0);
});

function place(row: unknown): number {
	return Number((row as { cell: string }).cell.slice(5));
}

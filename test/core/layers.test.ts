import { expect, test } from "bun:test";
import type { RecordBatch } from "apache-arrow";
import { activationsBatch, activationsSchema } from "../../core/arrow/activations.ts";
import { numberColumn } from "../../core/arrow/numbers.ts";
import { vectorColumn } from "../../core/arrow/vectors.ts";
import { keepLayers } from "../../core/layers.ts";
import type { ActivationSource } from "../../core/plugin.ts";
import { META } from "../../core/stream.ts";

const ROWS = 25;
const layerOf = (row: number) => (row * 7) % 5;

/** Row r is [r], of layer 7 r mod 5, in batches of four. */
const source: ActivationSource = {
	schema: activationsSchema({ width: 1, type: "float32", columns: ["layer"] }),
	rows: ROWS,
	async *batches(start) {
		for (let row = start; row < ROWS; row += 4) {
			const rows = Math.min(4, ROWS - row);
			const data = Float32Array.from({ length: rows }, (_, i) => row + i);
			const layer = Uint16Array.from({ length: rows }, (_, i) => layerOf(row + i));
			yield activationsBatch(this.schema, { data, rows, width: 1, type: "float32" }, { layer }, row);
		}
	},
};

const valuesOf = (batches: readonly RecordBatch[]) =>
	batches.flatMap((batch) => [...(vectorColumn(batch, "activation").data as Float32Array)]);

test("keeps the rows of some layers, numbers them anew and begins at any of them", async () => {
	const kept = keepLayers(source, [1, 3]);
	const whole = await Array.fromAsync(kept.batches(0));
	const expected = Array.from({ length: ROWS }, (_, row) => row).filter((row) =>
		[1, 3].includes(layerOf(row)),
	);
	expect(valuesOf(whole)).toEqual(expected);
	expect(whole.flatMap((batch) => [...numberColumn(batch, "layer")])).toEqual(expected.map(layerOf));
	for (let start = 0; start <= expected.length; start++) {
		const tail = await Array.fromAsync(kept.batches(start));
		expect(valuesOf(tail)).toEqual(expected.slice(start));
		let row = start;
		for (const batch of tail) {
			expect(batch.metadata.get(META.cursor)).toBe(String(row));
			row += batch.numRows;
		}
	}
});

test("refuses what it can't keep", async () => {
	const rows = (layers: number[], start = 0) => Array.fromAsync(keepLayers(source, layers).batches(start));
	await expect(rows([8, 9])).rejects.toThrow("no row is of layer 8, 9");
	await expect(rows([1], 6)).rejects.toThrow("--start 6: there are only 5 rows of these layers");
	const plain = { ...source, schema: activationsSchema({ width: 1, type: "float32" }) };
	expect(() => keepLayers(plain, [1])).toThrow("--layers needs a column layer of whole numbers");
});

/** Opens activation sources as the command line does. */

import { vectorFields } from "../../core/arrow/vectors.ts";
import type { ActivationSource, Context } from "../../core/plugin.ts";
import { createRegistry } from "../../core/registry.ts";
import { readRows } from "../../core/rows.ts";
import { plugins } from "../../plugins/index.ts";

const registry = createRegistry(plugins);

export const context: Context = {
	log: { info() {}, progress() {}, warn() {}, debug() {} },
	signal: new AbortController().signal,
	gpu: () => Promise.reject(new Error("no GPU in this test")),
	loadSae: () => Promise.reject(new Error("no SAE in this test")),
	openSae: () => Promise.reject(new Error("no GPU in this test")),
	command: "sae activations test",
};

export async function openSource(name: string, options: Record<string, unknown>): Promise<ActivationSource> {
	const source = (await registry.find("source", name))!;
	return source.open(source.options.parse(options), context);
}

/** Reads a source to its end as a trainer does; the rows, each as numbers. */
export async function rowsFrom(source: ActivationSource, start = 0): Promise<number[][]> {
	const stream = { schema: source.schema, batches: source.batches(start) };
	const column = vectorFields(source.schema)[0]!.name;
	const rows: number[][] = [];
	for await (const { data, rows: count, width } of readRows(stream, {
		columns: [column],
		batchSize: 64,
		start,
	})) {
		const floats = data instanceof Float32Array ? data : new Float16Array(data.slice().buffer);
		for (let row = 0; row < count; row++) rows.push([...floats.subarray(row * width, (row + 1) * width)]);
	}
	return rows;
}

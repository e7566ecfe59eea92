/** What `export` and `import` share: writing, reading back, comparing, and saying what came of it. */
import { z } from "zod";
import { usageError } from "../core/errors.ts";
import { widened } from "../core/files/dtype.ts";
import type { Context } from "../core/plugin.ts";
import type { SaeModel } from "../core/sae.ts";
import { openInput } from "./input.ts";
import { registry } from "./plugins.ts";

/** Rows that are read to compare on. */
const ROWS = 256;

export const comparisonOptions = {
	activations: z
		.string()
		.min(1)
		.optional()
		.meta({ hint: "FILE" })
		.describe(`Arrow stream or file whose first ${ROWS} rows are compared; made-up rows by default`),
};

interface Options {
	readonly out: string;
	readonly activations?: string | undefined;
}

/** Runs `write`, and logs how what it wrote compares with the SAE. */
export async function writeCompared(
	model: SaeModel,
	{ out, activations }: Options,
	write: () => Promise<void>,
	context: Context,
): Promise<void> {
	const { convert, verdict } = await import("../core/convert.ts");
	const rows = activations === undefined ? undefined : await firstRows(activations, model);
	const open = (one: SaeModel) => context.openSae(one);
	const { lossless, text } = verdict(await convert(model, out, write, { registry, open, rows }));
	context.log[lossless ? "info" : "warn"](`wrote ${out}; ${text}`);
}

async function firstRows(path: string, model: SaeModel): Promise<{ data: Float32Array; rows: number }> {
	const { saeReader } = await import("../core/sae-rows.ts");
	const stream = await openInput(path, ["activations"]);
	const reader = saeReader(stream.schema, model);
	const data = new Float32Array(ROWS * model.d_in);
	let rows = 0;
	for await (const batch of stream.batches) {
		const read = reader.read(batch);
		const count = Math.min(ROWS - rows, read.rows);
		data.set(widened(read.inputs).subarray(0, count * model.d_in), rows * model.d_in);
		rows += count;
		if (rows === ROWS) break;
	}
	if (rows === 0) throw usageError(`--activations ${path}: has no rows`);
	return { data: data.subarray(0, rows * model.d_in), rows };
}

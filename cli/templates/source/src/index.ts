/**
 * The source NAME: rows of Gaussian noise. Put what you have in its place, and keep the promise of a source: row n is
 * the same whenever it is asked for, so that a training run which was killed finds its place again.
 */
import type { Plugin } from "saeflow";

const ROWS_PER_BATCH = 1024;

export default {
	name: "NAME",
	apiVersion: 1,
	contributes({ z, activationsBatch, activationsSchema, CounterRng }) {
		const options = z.object({
			d_in: z.int().min(1).default(64).describe("Dimensions of a row"),
			rows: z.int().min(0).default(10_000).describe("Rows to generate"),
			seed: z.int().min(0).default(0).describe("Seed of the rows"),
		});
		type Options = ReturnType<typeof options.parse>;

		return [
			{
				kind: "source",
				name: "NAME",
				summary: "rows of Gaussian noise",
				options,
				async open({ d_in, rows, seed }: Options) {
					const schema = activationsSchema({ width: d_in, type: "float32" });
					const random = new CounterRng(seed);
					const value = (i: number) => random.normal(i);
					return {
						schema,
						rows,
						async *batches(start) {
							for (let row = start; row < rows; row += ROWS_PER_BATCH) {
								const count = Math.min(ROWS_PER_BATCH, rows - row);
								const first = row * d_in;
								const data = Float32Array.from({ length: count * d_in }, (_, i) => value(first + i));
								yield activationsBatch(schema, { data, rows: count, width: d_in, type: "float32" }, {}, row);
							}
						},
					};
				},
			},
		];
	},
} satisfies Plugin;

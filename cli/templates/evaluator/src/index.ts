/** The evaluator NAME: how many latents are active in a row, on average and at most. Put your own figures there. */
import type { Plugin } from "saeflow";

export default {
	name: "NAME",
	apiVersion: 1,
	contributes({ z, findVectorField, inputRows, SaeError }) {
		const options = z.object({
			column: z.string().optional().describe("Column of vectors; by default activation, or the only one"),
		});
		type Options = ReturnType<typeof options.parse>;

		return [
			{
				kind: "evaluator",
				name: "NAME",
				summary: "how many latents are active in a row",
				options,
				input: "stream",
				async evaluate({ model, stream }, { column }: Options, context) {
					const { schema, batches } = stream!;
					const { name } = findVectorField(schema, column);
					const runtime = await context.openSae(model);
					let rows = 0;
					let active = 0;
					let most = 0;
					try {
						for await (const batch of batches) {
							context.signal.throwIfAborted();
							const vectors = inputRows(batch, name, model.d_in, rows);
							const { offsets } = await runtime.encode(vectors.data, vectors.rows);
							for (let row = 0; row < vectors.rows; row++) {
								const l0 = offsets[row + 1]! - offsets[row]!;
								active += l0;
								most = Math.max(most, l0);
							}
							rows += vectors.rows;
						}
					} finally {
						runtime.close();
					}
					if (rows === 0) throw new SaeError("the stream has no rows to evaluate on");
					return [{ rows, l0: active / rows, l0_max: most }];
				},
			},
		];
	},
} satisfies Plugin;

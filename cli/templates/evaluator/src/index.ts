/** The evaluator NAME: how many latents are active in a row, on average and at most. Put your own figures there. */
import type { Plugin } from "saeflow";

export default {
	name: "NAME",
	apiVersion: 1,
	contributes({ z, columnNames, saeReader, SaeError }) {
		const options = z.object({
			column: columnNames
				.optional()
				.describe("Columns of vectors; by default those of the SAE, or the only one"),
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
					const reader = saeReader(schema, model, { columns: column });
					const runtime = await context.openSae(model);
					let rows = 0;
					let active = 0;
					let most = 0;
					try {
						for await (const batch of batches) {
							context.signal.throwIfAborted();
							const read = reader.read(batch);
							const { offsets } = await runtime.encode(read.inputs, read.rows);
							for (let row = 0; row < read.rows; row++) {
								const l0 = offsets[row + 1]! - offsets[row]!;
								active += l0;
								most = Math.max(most, l0);
							}
							rows += read.rows;
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

/** `sae report scaling`: the parameters of scaling laws as a table. */
import { z } from "zod";
import type { CellType } from "../../core/arrow/metrics.ts";
import { SaeError } from "../../core/errors.ts";
import type { MetricRow } from "../../core/plugin.ts";
import { META } from "../../core/stream.ts";
import { defineVerb } from "../command.ts";
import { inputOption, openInput } from "../input.ts";
import { type OutputOptions, outputOptions, withOutput } from "../output.ts";

const PARAMETERS = {
	law: "string",
	architecture: "string",
	k: "number",
	parameter: "string",
	value: "number",
	error: "number",
	points: "number",
	r2: "number",
	rms: "number",
} as const satisfies Record<string, CellType>;

const RESIDUALS = {
	law: "string",
	architecture: "string",
	d_sae: "number",
	k: "number",
	fvu: "number",
	fitted: "number",
	residual: "number",
} as const satisfies Record<string, CellType>;

export default defineVerb({
	name: "report scaling",
	summary: "scaling laws L(n) and L(n, k), fitted to the SAEs of a sweep",
	details:
		"L(n) = exp(alpha + beta_n ln n) + exp(zeta) for each k, and L(n, k) = exp(alpha + beta_k ln k + beta_n ln n + " +
		"gamma ln k ln n) + exp(zeta + eta ln k) (Gao et al. 2024), by least squares on ln L. n is d_sae, k the option k or " +
		"else the L0, L the FVU, on held-out rows where there are any; of SAEs that differ in seed and learning rate the " +
		"best one counts.\nA row for each parameter: its value and standard error, and R² and the root mean square of the " +
		"residuals of ln L.",
	examples: [
		{ command: "sae report scaling sweep.arrow" },
		{ command: "sae report scaling sweep.arrow --residuals residuals.csv --format json" },
	],
	positionals: [{ key: "input" }],
	options: z.object({
		input: inputOption.describe("Table of sae sweep; stdin by default"),
		...outputOptions,
		residuals: z
			.string()
			.min(1)
			.optional()
			.meta({ hint: "FILE" })
			.describe("Also write a row for each point of each law there; Arrow, or what its ending says"),
	}),
	async run({ options, context }) {
		const [{ tableBatch, tableSchema }, { readSweepTable }, { fitLaws }] = await Promise.all([
			import("../../core/arrow/metrics.ts"),
			import("./points.ts"),
			import("./laws.ts"),
		]);
		const { fitted, problems } = fitLaws(await readSweepTable(await openInput(options.input, ["metrics"])));
		for (const problem of problems) context.log.warn(problem);
		if (fitted.length === 0) throw new SaeError("no law could be fitted: the table has too few SAEs");
		const write = (columns: Readonly<Record<string, CellType>>, rows: MetricRow[], where: OutputOptions) => {
			const schema = tableSchema(columns, "metrics", { [META.command]: context.command });
			return withOutput(schema, where, (writer) => writer.write(tableBatch(schema, rows)));
		};
		if (options.residuals !== undefined) {
			const rows = fitted.flatMap(({ law, architecture, points }) =>
				points.map(({ n, k, loss, fitted, residual }) => ({
					law: `L(${law})`,
					architecture,
					d_sae: n,
					k,
					fvu: loss,
					fitted,
					residual,
				})),
			);
			await write(RESIDUALS, rows, { out: options.residuals });
		}
		const rows = fitted.flatMap(({ law, architecture, k = null, parameters, points, r2, rms }) =>
			parameters.map(({ name, value, error }) => ({
				law: `L(${law})`,
				architecture,
				k,
				parameter: name,
				value,
				error,
				points: points.length,
				r2: Number.isFinite(r2) ? r2 : null,
				rms,
			})),
		);
		await write(PARAMETERS, rows, options);
	},
});

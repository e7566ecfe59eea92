/** `sae report pareto`: a sweep as a page. */
import { z } from "zod";
import { usageError } from "../../core/errors.ts";
import { writeAtomically } from "../../core/files/atomic.ts";
import { defineVerb } from "../command.ts";
import { inputOption, openInput } from "../input.ts";
import { printText } from "../stdout.ts";

export default defineVerb({
	name: "report pareto",
	summary: "a page with FVU against L0 for the SAEs of a sweep, and their scaling laws",
	details:
		"One HTML file that fetches nothing and runs no script. FVU and L0 are those on held-out rows where every SAE has " +
		"them. Each architecture has a colour and each d_sae a line: its Pareto front.",
	examples: [
		{ command: "sae report pareto sweep.arrow --out pareto.html" },
		{ command: "sae sweep acts.arrow --sae 'topk --k 8,16,32' --out runs | sae report pareto > pareto.html" },
	],
	positionals: [{ key: "input" }],
	options: z.object({
		input: inputOption.describe("Table of sae sweep; stdin by default"),
		out: z
			.string()
			.min(1)
			.optional()
			.meta({ hint: "FILE" })
			.describe("Write to this file, which appears only when it is complete, instead of stdout"),
		title: z.string().default("Sparse autoencoders compared").describe("Heading of the page"),
	}),
	async run({ options, context }) {
		const { out, title } = options;
		if (out === undefined && process.stdout.isTTY)
			throw usageError("stdout is a terminal: name a file with --out");
		const [{ readSweepTable }, { fitLaws }, { paretoPage }] = await Promise.all([
			import("./points.ts"),
			import("./laws.ts"),
			import("./pareto-page.ts"),
		]);
		const stream = await openInput(options.input, ["metrics"]);
		const table = await readSweepTable(stream);
		const laws = fitLaws(table);
		for (const problem of laws.problems) context.log.warn(`no scaling law for ${problem}`);
		const page = paretoPage(table, laws, title);
		if (out === undefined) await printText(page);
		else await writeAtomically(out, (append) => append(new TextEncoder().encode(page)));
	},
});

/**
 * `sae eval mdl`: how many bits describe a row by its codes, at which error (Ayonrinde, Pearce & Sharkey 2024,
 * "Interpretability as compression: reconsidering SAE explanations of neural activations with MDL-SAEs").
 */
import {
	type Codes,
	type Context,
	type Core,
	definePlugin,
	type EvaluatorContribution,
	type MetricRow,
	type RecordStream,
	type SaeModel,
} from "saeflow";
import type { z } from "zod";
import { encoded, passOptions, targetOption } from "./evaluation/encoded.ts";
import { numberList } from "./evaluation/numbers.ts";
import { descriptionLength, largestValues, rounded } from "./mdl/description.ts";
import { Fidelity } from "./reconstruction/fidelity.ts";

export default definePlugin({
	name: "eval-mdl",
	apiVersion: 1,
	contributes: (core) => [mdl(core)],
});

function mdlOptions(core: Core) {
	const { z } = core;
	return z.object({
		levels: numberList(core, z.int().min(1).max(65_536))
			.default([4, 6, 8, 12, 16, 32])
			.meta({ hint: "N,..." })
			.describe("How many levels the values of a latent are rounded to"),
		tolerance: z
			.number()
			.gt(0)
			.default(0.01)
			.describe("Rise of the FVU by rounding that is small enough; the fewest such levels are chosen"),
		...passOptions(core, 16_384),
		target: targetOption(core),
	});
}

type Options = z.output<ReturnType<typeof mdlOptions>>;

function mdl(core: Core): EvaluatorContribution<Options> {
	return {
		kind: "evaluator",
		name: "mdl",
		summary:
			"description length: bits per row for which latents are on and for their values, and the error then",
		options: mdlOptions(core),
		input: "stream",
		evaluate: ({ model, stream }, options, context) => evaluate(core, model, stream!, options, context),
	};
}

/** A batch that is kept, to be decoded from codes that are rounded once the largest values are known. */
interface Kept {
	readonly codes: Codes;
	readonly inputs: Float32Array;
	readonly targets: Float32Array;
}

async function evaluate(
	core: Core,
	model: SaeModel,
	stream: RecordStream,
	options: Options,
	context: Context,
): Promise<MetricRow[]> {
	const { d_in, d_out = d_in, d_sae } = model;
	if (model.tensors.layer_scale)
		throw new core.SaeError("an SAE of several layers has no one description length");
	const kept: Kept[] = [];
	const own = new Fidelity(d_out);
	for await (const { codes, inputs, targets, decode } of encoded(core, model, stream, options, context)) {
		const wanted = targets();
		own.add(wanted, await decode());
		kept.push({ codes, inputs: inputs.slice(), targets: wanted.slice() });
	}
	const codes = kept.map((batch) => batch.codes);
	const largest = largestValues(codes, d_sae);
	const fvu = own.finish().fvu;
	const runtime = await context.openSae(model, { k: options.k });
	const rows: MetricRow[] = [];
	try {
		for (const levels of options.levels.toSorted((a, b) => a - b)) {
			const fidelity = new Fidelity(d_out);
			for (const { codes: exact, inputs, targets } of kept) {
				context.signal.throwIfAborted();
				fidelity.add(targets, await runtime.decode(rounded(exact, largest, levels), inputs));
			}
			const { rows: count, address, values } = descriptionLength(codes, largest, levels);
			const found = fidelity.finish().fvu;
			rows.push({
				levels,
				rows: count,
				l0:
					codes.reduce((sum, { value }) => sum + value.reduce((on, one) => (one === 0 ? on : on + 1), 0), 0) /
					count,
				bits: address + values,
				address_bits: address,
				value_bits: values,
				bits_per_dim: (address + values) / d_in,
				fvu,
				fvu_rounded: found,
			});
		}
	} finally {
		runtime.close();
	}
	const close = (row: MetricRow) =>
		fvu !== null && row.fvu_rounded !== null && Number(row.fvu_rounded) - fvu <= options.tolerance;
	const chosen = rows.find(close);
	return rows.map((row) => ({ ...row, chosen: row === chosen ? 1 : 0 }));
}

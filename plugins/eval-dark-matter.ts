/**
 * `sae eval dark-matter`: how much of an SAE's error is a linear function of its input, and how much a search for codes
 * in the same dictionary would leave (Engels, Riggs & Tegmark 2024, "Decomposing the dark matter of sparse autoencoders").
 */
import {
	type Context,
	type Core,
	definePlugin,
	type EvaluatorContribution,
	type MetricRow,
	type RecordStream,
	type SaeModel,
} from "saeflow";
import type { z } from "zod";
import { Moments } from "./dark-matter/moments.ts";
import { pursue } from "./dark-matter/pursuit.ts";
import { encoded, passOptions, targetOption } from "./evaluation/encoded.ts";

export default definePlugin({
	name: "eval-dark-matter",
	apiVersion: 1,
	contributes: (core) => [darkMatter(core)],
});

function darkMatterOptions(core: Core) {
	const { z } = core;
	return z.object({
		test_share: z
			.number()
			.gt(0)
			.lt(1)
			.default(0.5)
			.describe("Share of the rows to measure on, drawn at random"),
		pursuit_rows: z
			.int()
			.min(0)
			.default(128)
			.describe("Of these rows, the first to search codes for; 0: none"),
		seed: z.int().min(0).default(0).describe("Seed of the split into rows to fit and to measure on"),
		...passOptions(core, 100_000),
		target: targetOption(core),
	});
}

type Options = z.output<ReturnType<typeof darkMatterOptions>>;

function darkMatter(core: Core): EvaluatorContribution<Options> {
	return {
		kind: "evaluator",
		name: "dark-matter",
		summary: "how much of the error is linear in the input, what is left, and what a search for codes leaves",
		options: darkMatterOptions(core),
		input: "stream",
		evaluate: ({ model, stream }, options, context) => evaluate(core, model, stream!, options, context),
	};
}

async function evaluate(
	core: Core,
	model: SaeModel,
	stream: RecordStream,
	options: Options,
	context: Context,
): Promise<MetricRow[]> {
	const { d_in, d_out = d_in } = model;
	// Targets of the regression: the error, and its squared norm.
	const parts = { fit: new Moments(d_in, d_out + 1), test: new Moments(d_in, d_out + 1) };
	const spread = new Spread(d_out);
	const search = searchOf(model, options.pursuit_rows);
	const random = new core.CounterRng(options.seed);
	const y = new Float64Array(d_out + 1);
	let row = 0;
	for await (const { rows, codes, inputs, targets, decode } of encoded(
		core,
		model,
		stream,
		options,
		context,
	)) {
		const [wanted, decoded] = [targets(), await decode()];
		for (let r = 0; r < rows; r++) {
			const target = wanted.subarray(r * d_out, (r + 1) * d_out);
			let square = 0;
			for (let d = 0; d < d_out; d++) {
				y[d] = target[d]! - decoded[r * d_out + d]!;
				square += y[d]! ** 2;
			}
			y[d_out] = square;
			const tested = random.uniform(row++) < options.test_share;
			parts[tested ? "test" : "fit"].add(inputs.subarray(r * d_in, (r + 1) * d_in), y);
			if (!tested) continue;
			spread.add(target);
			search?.add(target, square, codes.offsets[r + 1]! - codes.offsets[r]!);
		}
		// A row of arithmetic takes d_in² steps: let Ctrl-C through.
		await new Promise((resolve) => setImmediate(resolve));
	}
	if (parts.fit.rows <= d_in || parts.test.rows < 2) {
		throw new core.SaeError(
			`${row} rows are too few: ${parts.fit.rows} to fit ${d_in + 1} coefficients, ${parts.test.rows} to measure on`,
		);
	}
	const { left, total } = parts.test.residuals(parts.fit.fit());
	const error = parts.test.squares().subarray(0, d_out);
	const own = left.subarray(0, d_out);
	const ratios = Array.from(own, (value, d) => 1 - value / total[d]!).filter(Number.isFinite);
	const variance = spread.total();
	const share = (part: number, whole: number) => (whole > 0 ? part / whole : null);
	return [
		{
			fit_rows: parts.fit.rows,
			test_rows: parts.test.rows,
			fvu: share(sum(error), variance),
			fvu_nonlinear: share(sum(own), variance),
			error_r2: share(sum(total.subarray(0, d_out)) - sum(own), sum(total.subarray(0, d_out))),
			error_r2_per_dim: ratios.length > 0 ? sum(ratios) / ratios.length : null,
			error_norm_r2: share(total[d_out]! - left[d_out]!, total[d_out]!),
			...(search?.finish() ?? {
				pursuit_rows: 0,
				pursuit_l0: null,
				error_of_encoder: null,
				error_of_pursuit: null,
			}),
		},
	];
}

/** Σ ‖x − mean‖² of the rows measured on. */
class Spread {
	readonly #sum: Float64Array;
	#square = 0;
	#rows = 0;

	constructor(width: number) {
		this.#sum = new Float64Array(width);
	}

	add(x: Float32Array): void {
		this.#rows++;
		for (let d = 0; d < x.length; d++) {
			this.#sum[d]! += x[d]!;
			this.#square += x[d]! ** 2;
		}
	}

	total(): number {
		return this.#square - this.#sum.reduce((total, value) => total + value ** 2, 0) / this.#rows;
	}
}

/** Searches codes for the first rows, as many as the encoder used of each; undefined where codes alone do not reconstruct. */
function searchOf(
	{ d_in, d_out = d_in, d_sae, tensors, normalize_activations: normalised }: SaeModel,
	most: number,
) {
	if (most === 0 || normalised !== "none" || tensors.W_skip || tensors.layer_scale) return undefined;
	const W_dec = tensors.W_dec!.data;
	const norms = Array.from(
		{ length: d_sae },
		(_, latent) => Math.hypot(...W_dec.subarray(latent * d_out, (latent + 1) * d_out)) || 1,
	);
	const dictionary = norms.map((norm, latent) =>
		Float64Array.from({ length: d_out }, (_, d) => W_dec[latent * d_out + d]! / norm),
	);
	const bias = tensors.b_dec?.data;
	const sums = { rows: 0, l0: 0, encoder: 0, pursuit: 0, size: 0 };
	return {
		add(target: Float32Array, square: number, l0: number) {
			if (sums.rows === most) return;
			const centred = Float64Array.from(target, (value, d) => value - (bias?.[d] ?? 0));
			sums.rows++;
			sums.l0 += l0;
			sums.encoder += square;
			sums.pursuit += pursue(centred, dictionary, l0);
			sums.size += centred.reduce((total, value) => total + value ** 2, 0);
		},
		finish: () => ({
			pursuit_rows: sums.rows,
			pursuit_l0: sums.rows > 0 ? sums.l0 / sums.rows : null,
			error_of_encoder: sums.size > 0 ? sums.encoder / sums.size : null,
			error_of_pursuit: sums.size > 0 ? sums.pursuit / sums.size : null,
		}),
	};
}

function sum(values: ArrayLike<number>): number {
	let total = 0;
	for (let i = 0; i < values.length; i++) total += values[i]!;
	return total;
}

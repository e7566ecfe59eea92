/** The buffers that the phases of a step hand each other. */
import { ROW_SUMS } from "../../kernels/activate.ts";
import { COLUMN_BLOCK } from "../../kernels/columns.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { type Layout, roundUp, TILE } from "../../kernels/layout.ts";
import { CONTROL, REPORT } from "../../kernels/loss.ts";
import { STEP_PARAMS_BYTES } from "../../kernels/wgsl.ts";
import type { Size, TrainingSpec } from "../architecture.ts";
import { type DenseSize, denseWidth } from "../gpu/parameters.ts";
import { ARCHETYPAL, biasBlocks, type Plan, type StepShape } from "./plan.ts";

/** The most selections of any number of codes, over all terms and chunks. */
export const MAX_SLOTS = 255;

/** Matrices that architectures may have besides W_enc and W_dec. */
const DENSE = ["W_skip", ...ARCHETYPAL];

/** Those that a description has. */
export function denseMatrices({ parameters }: TrainingSpec, sizes: Layout): DenseSize[] {
	const size = (name: Size) => (typeof name === "number" ? name : sizes[name]);
	return parameters
		.filter(({ name }) => DENSE.includes(name))
		.map(({ name, shape }) => ({
			name,
			rows: shape.length === 1 ? 1 : size(shape[0]!),
			columns: size(shape.at(-1)!),
		}));
}

/** What decides how large buffers are. */
interface Rows extends Plan {
	readonly spec: TrainingSpec;
	readonly shape: StepShape;
	readonly layout: Layout;
}

/** What variances are taken of: of what is to be reconstructed, and, where it measures a loss, of the residual. */
export function varying({ terms }: Pick<Plan, "terms">): ("residual" | "target")[] {
	const measured = terms.some(({ reduction }) => reduction === "variance");
	return [...(measured ? (["residual"] as const) : []), "target"];
}

/** Numbers that are kept for each row, `each` so many, or for each row of every block. */
export function rowNumbers({ spec, terms, blocks }: Pick<Rows, "spec" | "terms" | "blocks">) {
	return [
		{ name: "squared", each: 1, blocks },
		{ name: "span", each: 2, blocks },
		{ name: "sums", each: ROW_SUMS, blocks },
		...(spec.revival ? [{ name: "revivalLoss", each: 1, blocks: 1 } as const] : []),
		...varying({ terms }).map((of) => ({ name: `${of}Deviation`, each: 1, blocks: 1 }) as const),
	] as const;
}

/** Buffers for them, and for what is summed over rows, in so many `parts` where parts have means of their own. */
export function rowBuffers(plan: Rows, floats: (label: string, count: number) => GPUBuffer, parts = 1) {
	const { spec, shape, layout, terms, gradientRows } = plan;
	const { latents, width, outWidth } = layout;
	const numbers = rowNumbers(plan);
	const each = (label: string, wanted: (typeof numbers)[number]["name"]) => {
		const found = numbers.find(({ name }) => name === wanted);
		return floats(label, found ? found.blocks * found.each * shape.rows : 0);
	};
	return {
		squared: each("squared errors", "squared"),
		span: each("code spans", "span"),
		sums: each("row sums", "sums"),
		revivalLoss: each("revival losses", "revivalLoss"),
		/** Each row's squared distance from the mean, and what the mean is the sum of. */
		residualDeviation: each("residual deviations", "residualDeviation"),
		residualSums: floats("residual sums", parts * outWidth),
		targetDeviation: each("target deviations", "targetDeviation"),
		targetSums: floats("target sums", parts * outWidth),
		rowWeight: floats("row weights", shape.tilted ? shape.rows : 0),
		fired: floats("codes of each latent", latents),
		/** [gradientRows, latents] */
		vectorGradient: floats("latent vector gradients", gradientRows.length * latents),
		/** Of each block that b_dec learns from. */
		errorSums: floats("error sums", biasBlocks(terms).length * outWidth),
		inputSums: floats("input sums", spec.revival ? width : 0),
	};
}

export function allocate(
	gpu: Gpu,
	spec: TrainingSpec,
	shape: StepShape,
	plan: Plan,
	layout: Layout,
	{ codeRows, entries, segments }: Record<"codeRows" | "entries" | "segments", number>,
) {
	const { width, outWidth, latents, paddedRows, shards } = layout;
	const skips = spec.parameters.some(({ name }) => name === "W_skip");
	const candidates = denseMatrices(spec, layout).find(({ name }) => name === "candidates");
	const mixtureWidth = candidates ? denseWidth({ columns: candidates.rows }) : 0;
	const floats = (label: string, count: number) => gpu.buffer(label, count * 4);
	const blocks = (rows: number) => Math.ceil(rows / COLUMN_BLOCK);
	const x = floats("rows", paddedRows * width);
	const separate = shape.d_out !== undefined;
	const y = separate ? floats("targets", paddedRows * outWidth) : x;
	const value = floats("code values", entries);
	return {
		step: gpu.uniform("step", STEP_PARAMS_BYTES),
		raw: floats("arriving rows", shape.rows * shape.d_in),
		rawTargets: floats("arriving targets", separate ? shape.rows * layout.d_out : 0),
		rowScales: floats("row scales", shape.rowScales ? shape.rows : 0),
		columnScales: floats("column scales", shape.columnScales?.length ?? 0),
		targetScales: floats("target scales", shape.targetScales?.length ?? 0),
		...rowBuffers({ ...plan, spec, shape, layout }, floats),
		x,
		/** What is to be reconstructed. */
		y,
		/** The same without what a skip connection explains. */
		unskipped: skips ? floats("targets without the skip connection", paddedRows * outWidth) : y,
		transposedErrors: floats("transposed errors", skips ? roundUp(outWidth, TILE) * paddedRows : 0),
		transposedRows: floats("transposed rows", skips ? roundUp(width, TILE) * paddedRows : 0),
		skipGradient: floats("W_skip gradient", skips ? roundUp(outWidth, TILE) * width : 0),
		/** Of a W_dec that is made of other parameters. */
		decoderGradient: floats("W_dec gradient", spec.decoder ? latents * outWidth : 0),
		transposedCandidates: floats("transposed candidates", roundUp(outWidth, TILE) * mixtureWidth),
		mixtureGradient: floats("mixture gradient", latents * mixtureWidth),
		scaleGradient: floats("log scale gradient", spec.decoder ? denseWidth({ columns: 1 }) : 0),
		atomProducts: floats("products of atoms and gradients", spec.decoder ? latents : 0),
		/** What the encoder sees: x − b_dec, or x itself. */
		encoderInput: spec.apply_b_dec_to_input ? floats("centred rows", paddedRows * width) : x,
		error: floats("errors", codeRows * outWidth),
		index: floats("code indices", entries),
		value,
		/** Pre-activations of codes; the codes themselves where none differ. */
		z: plan.terms.some(({ activated }) => activated) ? floats("pre-activations of codes", entries) : value,
		/** Derivative of half the squared error by each code. */
		slope: floats("code slopes", entries),
		weighed: floats("weighed codes", plan.weighed ? entries * (2 + plan.shares.length) : 0),
		carry: floats("carry", MAX_SLOTS + 1),
		/** Sums of the segments of long lists, for one matrix at a time. */
		partial: floats("segment sums", segments * Math.max(width, outWidth)),
		b_dec_gradient: floats("b_dec gradient", outWidth),
		inverseNorms: floats(
			"inverse decoder norms",
			plan.derived.includes("norm") ? latents * (spec.norm_blocks ?? 1) : 0,
		),
		reviving: floats("reviving factors", spec.revival ? latents : 0),
		dead: floats("dead latents", latents + 1),
		deadFlags: floats("dead flags", latents),
		quota: floats("quotas", spec.allocation ? latents : 0),
		floor: floats("density floors", spec.allocation ? latents : 0),
		/** Partial sums over the rows of a batch, or over the latents of every shard. */
		columnScratch: floats(
			"column sums",
			Math.max(
				blocks(shape.rows),
				shards.reduce((sum, { count }) => sum + blocks(count), 0),
			) * Math.max(width, outWidth),
		),
		control: floats("control", CONTROL.length),
		report: floats("report", REPORT.length),
	};
}

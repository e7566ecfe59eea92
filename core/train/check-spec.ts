/** Descriptions that can't be run are refused before anything is allocated. */
import type { Gpu } from "../../kernels/gpu.ts";
import { DEPTH, planLayout, roundUp, TILE } from "../../kernels/layout.ts";
import { MAX_K } from "../../kernels/topk-parts.ts";
import { MAX_BLOCKS, MAX_SCALARS, MAX_TERMS } from "../../kernels/wgsl.ts";
import type { LossTerm, Size, TrainingSpec } from "../architecture.ts";
import { usageError } from "../errors.ts";
import { digitBytes } from "../gpu/select.ts";
import { largest } from "../schedule.ts";
import { ARCHETYPAL, microRows, type StepShape } from "./plan.ts";

/** Throws a usage error that says what of the description can't be run with these sizes. */
export function checkSpec(spec: TrainingSpec, shape: StepShape, gpu: Pick<Gpu, "maxBinding">): void {
	const { loss, scalars = {}, parameters, sparsity } = spec;
	if (loss.length > MAX_TERMS) refuse(`an architecture can have ${MAX_TERMS} loss terms, not ${loss.length}`);
	const blocks = loss.reduce((sum, { nested }) => sum + (nested?.weights.length ?? 1), 0);
	if (blocks > MAX_BLOCKS) refuse(`loss terms can have ${MAX_BLOCKS} parts in all, not ${blocks}`);
	if (Object.keys(scalars).length > MAX_SCALARS) {
		refuse(`an architecture can have ${MAX_SCALARS} scalars, not ${Object.keys(scalars).length}`);
	}
	for (const name of ["W_enc", "W_dec", "b_enc", "b_dec"]) {
		if (!parameters.some((parameter) => parameter.name === name)) refuse(`the parameter ${name} is missing`);
	}
	if (sparsity !== undefined && !(sparsity in scalars))
		refuse(`there is no scalar ${sparsity}, named as sparsity`);
	if (spec.apply_b_dec_to_input && shape.d_out !== undefined) {
		refuse("b_dec can be taken from inputs only where they are what is reconstructed");
	}
	checkDense(spec, shape, gpu);
	const d_out = shape.d_out ?? shape.d_in;
	if (d_out % (spec.norm_blocks ?? 1) !== 0)
		refuse(`${d_out} columns can't be cut into ${spec.norm_blocks} equal blocks`);
	const [first] = loss;
	if (first.target !== "data" || first.latents !== "all") {
		refuse("the first loss term must reconstruct the data, from all latents");
	}
	for (const term of loss) checkTerm(term, spec, shape);
	const byKeys = loss.filter(({ select }) => select.kind === "product_keys").length;
	const others = loss.filter(
		({ select, latents }) => select.kind !== "product_keys" && latents === "all",
	).length;
	if (byKeys > 0 && (others > 0 || spec.revival)) refuse("where latents are pairs of keys, every term's are");
	const perBatch = loss.find(({ select }) => select.kind === "feature_topk");
	if (perBatch) {
		if (!spec.allocation) refuse(`${perBatch.name}: feature_topk needs an allocation`);
		const layout = planLayout(shape as StepShape & { d_out: number }, gpu.maxBinding);
		const { chunkRows, rows } = layout;
		const atOnce = microRows(shape) === rows;
		if (atOnce && chunkRows < rows) {
			refuse(
				`${perBatch.name}: all pre-activations of a batch have to fit in memory at once: use batches, or micro-batches, of ${chunkRows} rows`,
			);
		}
		if (!atOnce && digitBytes(layout) > gpu.maxBinding) {
			refuse(
				`${perBatch.name}: bounds of ${shape.d_sae} latents can't be counted in micro-batches on this device`,
			);
		}
	}
}

function checkDense(
	{ parameters, decoder }: TrainingSpec,
	shape: StepShape,
	gpu: Pick<Gpu, "maxBinding">,
): void {
	const find = (wanted: string) => parameters.find(({ name }) => name === wanted);
	const need = (name: string, wanted: readonly Size[]) => {
		const found = find(name)?.shape;
		if (found?.join() !== wanted.join()) {
			refuse(`${name} has to be [${wanted.join(", ")}], not ${found ? `[${found.join(", ")}]` : "missing"}`);
		}
	};
	if (find("W_skip")) {
		need("W_skip", ["d_out", "d_in"]);
		if (shape.d_out === undefined) refuse("a skip connection needs targets that are others than the inputs");
	}
	if (!decoder) {
		const stray = ARCHETYPAL.find(find);
		if (stray) refuse(`the parameter ${stray} is an archetypal decoder's, and there is none`);
		return;
	}
	const n = find("candidates")?.shape[0] ?? 0;
	need("candidates", [n, "d_out"]);
	need("mixture", ["d_sae", n]);
	need("relaxation", ["d_sae", "d_out"]);
	need("log_scale", [1]);
	if (typeof n !== "number") refuse("the number of candidates has to be a number");
	if (!(decoder.delta >= 0)) refuse(`delta must be at least 0, not ${decoder.delta}`);
	if (find("W_dec")!.constraint)
		refuse("a W_dec that is made of other parameters can't be held at unit norm");
	const { d_in, d_out = d_in, d_sae } = shape;
	// Adam's two averages of the widest of the dense matrices lie in one buffer.
	const widest = Math.max(d_in, d_out, n as number);
	const most = Math.floor(gpu.maxBinding / 8 / (roundUp(widest, DEPTH) * roundUp(d_sae, TILE)));
	if (most < 1) refuse(`${d_sae} mixtures of ${n} candidates don't fit in one buffer: use fewer of either`);
}

function checkTerm(term: LossTerm, { scalars = {} }: TrainingSpec, { d_sae, tilted }: StepShape): void {
	const { name, select, nested, penalty } = term;
	const say = (message: string) => refuse(`${name}: ${message}`);
	if ("k" in select) {
		const k = largest(select.k);
		if (k > d_sae && term.latents === "all") say(`k ${k} is larger than d_sae ${d_sae}`);
		if (k > MAX_K && (term.latents === "dead" || (select.kind === "topk" && select.by === "magnitude"))) {
			say(`k ${k} is over the largest supported, ${MAX_K}`);
		}
	}
	if (select.kind === "group_max" && d_sae % select.groups !== 0) {
		say(`${d_sae} latents can't be cut into ${select.groups} equal groups`);
	}
	if (select.kind === "product_keys" && !Number.isInteger(Math.sqrt(d_sae))) {
		say(`d_sae ${d_sae} is no square, and latents are pairs of keys`);
	}
	if (term.latents === "dead" && (select.kind !== "topk" || nested))
		say("dead latents are selected by topk alone");
	if (nested) {
		if (!(nested.weights.at(-1)! > 0)) say("the last part, which has everything, needs a weight over 0");
		if (nested.by === "rank" && select.kind !== "topk") say("parts by rank need the selection topk");
		if (nested.by === "latent" && select.kind === "topk" && select.by === "magnitude") {
			say("parts need codes that are positive");
		}
		const sizes = typeof nested.sizes === "function" ? nested.sizes(1) : nested.sizes;
		if (sizes.length !== nested.weights.length) say("parts need as many weights as sizes");
		if (sizes.some((size, i) => size < (sizes[i - 1] ?? 0)) || sizes.at(-1) !== d_sae) {
			say(`sizes of parts must rise to d_sae ${d_sae}, not ${sizes.join(", ")}`);
		}
	}
	if (select.kind !== "all" && term.activation && term.activation.value !== "z") {
		say(
			`codes of the selection ${select.kind} are pre-activations; other activations need the selection all`,
		);
	}
	if (penalty && term.reduction === "variance") say("a penalty needs the reduction sum");
	if (penalty?.batch && tilted) say("a penalty of the whole batch can't be tilted by rows");
	if (penalty && !(penalty.weight in scalars))
		say(`there is no scalar ${penalty.weight} to weigh the penalty`);
	if (term.reduction === "variance" && term.target === "data") {
		say("reduction variance is for the target residual");
	}
	if (term.target === "residual" && term.bias) say("a residual has no bias");
}

function refuse(message: string): never {
	throw usageError(message);
}

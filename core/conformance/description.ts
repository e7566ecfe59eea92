/** Whether an architecture's description is sound: its form, and that what it names exists. */
import { z } from "zod";
import type { InferenceSpec, Size, Sizes, TrainingSpec } from "../architecture.ts";
import { check } from "./check.ts";

const positive = z.int().min(1);
const Share = z.number().min(0).max(1);
const Formula = z.string().min(1);
const Formulas = z.record(z.string(), Formula);
const Fn = z.custom<unknown>((value) => typeof value === "function", "must be a function");

const schedule = <N extends z.ZodType<number>>(value: N) =>
	z.union([
		value,
		z.strictObject({
			from: value,
			to: value,
			begin: Share.optional(),
			until: Share,
			stages: positive.optional(),
		}),
	]);

const Initialisation = z.discriminatedUnion("kind", [
	z.strictObject({ kind: z.literal("constant"), value: z.number().optional() }),
	z.strictObject({ kind: z.literal("random_rows"), norm: z.number().positive().optional() }),
	z.strictObject({ kind: z.literal("uniform"), bound: z.number().positive() }),
	z.strictObject({ kind: z.literal("copy"), of: z.string(), scale: z.number() }),
	z.strictObject({ kind: z.literal("data_centre"), method: z.enum(["mean", "geometric_median"]) }),
	z.strictObject({ kind: z.literal("firing_rate"), rate: Share, threshold: z.number() }),
	z.strictObject({ kind: z.literal("k_means") }),
	z.strictObject({ kind: z.literal("one_hot_rows") }),
	z.strictObject({ kind: z.literal("derived") }),
]);

const Parameter = z.strictObject({
	name: z.string().regex(/^[A-Za-z_]\w*$/, "must be a name that formulas can use"),
	shape: z.array(z.union([z.enum(["d_sae", "d_in", "d_out"]), positive])).min(1),
	init: Initialisation,
	constraint: z.literal("unit_rows").optional(),
});

const Activation = z.strictObject({ keep: Formula, value: Formula, dz: Formula, d: Formulas.optional() });

const Penalty = z.strictObject({
	value: Formula,
	df: Formula.optional(),
	dz: Formula.optional(),
	dnorm: Formula.optional(),
	d: Formulas.optional(),
	weight: z.string(),
	batch: z.strictObject({ value: Formula, slope: Formula, beside: Formula.optional() }).optional(),
});

const Selection = z.discriminatedUnion("kind", [
	z.strictObject({
		kind: z.literal("topk"),
		k: schedule(positive),
		by: z.enum(["value", "magnitude"]).optional(),
	}),
	z.strictObject({ kind: z.literal("batch_topk"), k: schedule(z.number().positive()) }),
	z.strictObject({ kind: z.literal("feature_topk") }),
	z.strictObject({ kind: z.literal("group_max"), groups: positive }),
	z.strictObject({ kind: z.literal("product_keys"), k: schedule(positive) }),
	z.strictObject({ kind: z.literal("all") }),
]);

const Nesting = z.strictObject({
	by: z.enum(["latent", "rank"]),
	sizes: z.union([z.array(z.int().min(0)).min(1), Fn]),
	weights: z.array(z.number().min(0)).min(1),
});

const Term = z.strictObject({
	name: z.string().min(1),
	latents: z.enum(["all", "dead"]),
	select: Selection,
	activation: Activation.optional(),
	target: z.enum(["data", "residual"]),
	bias: z.boolean(),
	decoder: z.enum(["trained", "frozen"]).optional(),
	nested: Nesting.optional(),
	reduction: z.enum(["sum", "variance"]),
	weight: z.number().min(0),
	penalty: Penalty.optional(),
});

const Training = z.strictObject({
	parameters: z.array(Parameter).min(1),
	apply_b_dec_to_input: z.boolean(),
	loss: z.array(Term).min(1),
	scalars: z.record(z.string(), schedule(z.number())).optional(),
	sparsity: z.string().optional(),
	revival: z.strictObject({ weight: z.number().min(0), threshold: Formula, dthreshold: Formulas }).optional(),
	allocation: z.strictObject({ every: positive, plan: Fn }).optional(),
	decoder: z.strictObject({ kind: z.literal("archetypal"), delta: z.number().min(0) }).optional(),
	norm_blocks: positive.optional(),
});

const Inference = z.strictObject({ select: Selection, activation: Activation.optional() });

/**
 * What training itself would not notice, or would say less clearly, of a description.
 * @throws Error that lists what is wrong.
 */
export function checkTraining(spec: TrainingSpec, sizes: Sizes, title: string): void {
	checkForm(Training, spec, `${title}: training()`);
	const complaints = [...aboutParameters(spec, sizes), ...aboutDerivatives(spec)];
	check(complaints.length === 0, `${title}: training(): ${complaints.join("; ")}`);
}

/** @throws Error that lists what is wrong with a description for encoding. */
export function checkInference(spec: InferenceSpec, title: string): void {
	checkForm(Inference, spec, `${title}: inference()`);
}

function checkForm(schema: z.ZodType, value: unknown, title: string): void {
	const result = schema.safeParse(value);
	if (result.success) return;
	const complaints = result.error.issues.map(({ path, message }) =>
		[path.join("."), message].filter(Boolean).join(": "),
	);
	throw new Error(`${title}: ${complaints.join("; ")}`);
}

function aboutParameters({ parameters }: TrainingSpec, sizes: Sizes): string[] {
	const names = parameters.map(({ name }) => name);
	const sizeOf = (size: Size) => (typeof size === "number" ? size : sizes[size]);
	const shapes = new Map(parameters.map(({ name, shape }) => [name, shape.map(sizeOf).join(", ")]));
	return [
		...names.filter((name, i) => names.indexOf(name) < i).map((name) => `two parameters are called ${name}`),
		...parameters.flatMap(({ name, init }, i) => {
			if (init.kind !== "copy") return [];
			if (!names.slice(0, i).includes(init.of))
				return [`${name} copies ${init.of}, which is no parameter before it`];
			return shapes.get(init.of) === shapes.get(name) ? [] : [`${name} copies ${init.of}, of another shape`];
		}),
	];
}

function aboutDerivatives({ parameters, loss, revival }: TrainingSpec): string[] {
	const formulas = [
		...loss.flatMap(({ activation, penalty }) => [activation?.d, penalty?.d]),
		revival?.dthreshold,
	];
	return formulas
		.flatMap((by) => Object.keys(by ?? {}))
		.filter((name) => !parameters.some((parameter) => parameter.name === name))
		.map((name) => `there is a derivative by ${name}, which is no parameter`);
}

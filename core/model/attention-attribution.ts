/**
 * Where a latent of an attention-output SAE gets its activation from: direct feature attribution by head and source
 * position (Kissane et al. 2024, "Interpreting attention layer outputs with sparse autoencoders"). Attention is linear
 * in its values once its pattern is fixed: the pre-activation is the sum of the parts, and of biases.
 */
import { SaeError } from "../errors.ts";
import type { SaeModel } from "../sae.ts";
import { openWeights } from "./folder.ts";
import type { HookPoint } from "./hooks.ts";
import type { ModelSpec } from "./spec.ts";
import type { TokenBatch, Transformer } from "./transformer.ts";

/** Queries, keys and values of a pass, row by row. */
export interface AttentionRows {
	/** [rows, heads · d_head], turned where the model turns them. */
	readonly q: Float32Array;
	/** [rows, kvHeads · d_head], turned likewise. */
	readonly k: Float32Array;
	readonly v: Float32Array;
}

/**
 * Directions in `attn.hook_z` whose products with it are a latent's pre-activation, but for biases: [latents, z width].
 *
 * @throws SaeError for a hook point that is no attention output.
 */
export async function attentionDirections(
	folder: string,
	spec: ModelSpec,
	point: HookPoint,
	{ tensors, d_in, d_sae }: Pick<SaeModel, "tensors" | "d_in" | "d_sae">,
	latents: readonly number[],
): Promise<Float32Array[]> {
	const W_enc = tensors.W_enc!.data;
	const columns = latents.map((latent) =>
		Float32Array.from({ length: d_in }, (_, i) => W_enc[i * d_sae + latent]!),
	);
	const layer = point.layer === undefined ? undefined : spec.layers[point.layer];
	if (point.name.endsWith(".attn.hook_z")) return columns;
	const isOutput =
		point.name.endsWith(".attn.out") || (point.name.endsWith(".hook_attn_out") && !layer?.ln1Post);
	if (!isOutput || !layer) {
		throw new SaeError(
			`${point.name}: attention is attributed for SAEs on attn.hook_z, attn.out, or hook_attn_out where no norm follows it`,
		);
	}
	const weights = await openWeights(folder, spec);
	try {
		const W_O = await weights.rows(layer.o);
		return columns.map((column) => {
			const direction = new Float32Array(layer.o.d_in);
			for (const [output, value] of column.entries()) {
				for (let i = 0; i < direction.length; i++)
					direction[i]! += value * W_O[output * direction.length + i]!;
			}
			return direction;
		});
	} finally {
		await weights.close();
	}
}

/** Runs a pass as far as a layer's attention, and reads its queries, keys and values. */
export async function readAttention(
	model: Transformer,
	batch: TokenBatch,
	layer: number,
): Promise<AttentionRows> {
	const turned = model.spec.rope ? "rot_" : "";
	const found = new Map<string, Promise<Float32Array>>();
	const hooks = [`${turned}q`, `${turned}k`, "v"].map((part) => {
		const name = `blocks.${layer}.attn.hook_${part}`;
		return [
			name,
			(value: Parameters<Transformer["read"]>[0]) => void found.set(part, model.read(value)),
		] as const;
	});
	await model.run(batch, new Map(hooks));
	const [q, k, v] = await Promise.all([`${turned}q`, `${turned}k`, "v"].map((part) => found.get(part)!));
	return { q: q!, k: k!, v: v! };
}

/**
 * The parts of a direction's product with `attn.hook_z` in row `row`, by source and head.
 *
 * @param rows of one context.
 * @returns [row + 1, heads]; zero outside the layer's window.
 */
export function attributeAttention(
	{ heads, kvHeads, d_head, scoreCap, layers }: ModelSpec,
	layer: number,
	{ q, k, v }: AttentionRows,
	direction: Float32Array,
	row: number,
): Float32Array {
	const { scale, window } = layers[layer]!;
	const first = window > 0 ? Math.max(0, row - window + 1) : 0;
	const parts = new Float32Array((row + 1) * heads);
	const product = (a: Float32Array, aStart: number, b: Float32Array, bStart: number) => {
		let sum = 0;
		for (let i = 0; i < d_head; i++) sum += a[aStart + i]! * b[bStart + i]!;
		return sum;
	};
	for (let head = 0; head < heads; head++) {
		const shared = Math.floor(head / (heads / kvHeads));
		const placeOf = (source: number) => (source * kvHeads + shared) * d_head;
		const scores = Float64Array.from({ length: row - first + 1 }, (_, i) => {
			const score = scale * product(q, (row * heads + head) * d_head, k, placeOf(first + i));
			return scoreCap > 0 ? scoreCap * Math.tanh(score / scoreCap) : score;
		});
		const top = scores.reduce((largest, score) => Math.max(largest, score), Number.NEGATIVE_INFINITY);
		const weights = scores.map((score) => Math.exp(score - top));
		const total = weights.reduce((sum, weight) => sum + weight, 0);
		for (const [i, weight] of weights.entries()) {
			const source = first + i;
			parts[source * heads + head] = (weight / total) * product(v, placeOf(source), direction, head * d_head);
		}
	}
	return parts;
}

/** How much device memory training takes, counted without taking it. */
import type { Gpu } from "../../kernels/gpu.ts";
import { halfWidth } from "../../kernels/halve.ts";
import type { Layout } from "../../kernels/layout.ts";
import type { LossTerm, TrainingSpec } from "../architecture.ts";
import { digitBytes, FIRST_ROOM, GROWTH, isBatchLevel, roomOf } from "../gpu/select.ts";
import { largest } from "../schedule.ts";
import { checkSpec } from "./check-spec.ts";
import { planBatch } from "./micro-batches.ts";
import { isReranked, microRows, type StepShape } from "./plan.ts";

/**
 * Room for codes of a row that may have any number of them: for half of all latents where nothing bounds them, as
 * there are at the start.
 */
function codesPerRow({ select, nested }: LossTerm, d_sae: number): number {
	if (roomOf(select, nested) > 0) return 0;
	const codes = "k" in select ? largest(select.k) : d_sae / 2;
	return Math.max(Math.ceil(GROWTH * codes), Math.min(FIRST_ROOM, d_sae));
}

/** Pre-activations have maxima over every four of them beside them. */
const PRE_ACTIVATIONS = 1.25;

/**
 * About how many bytes of device memory a training step holds: weights, optimiser, the rows and codes of a batch or micro-batch,
 * and pre-activations.
 * @throws SaeError for a description that can't be run with these sizes.
 */
export function trainingBytes(
	gpu: Pick<Gpu, "maxBinding" | "halfProduct">,
	spec: TrainingSpec,
	shape: StepShape,
): number {
	checkSpec(spec, shape, gpu);
	let bytes = 0;
	const count = (_label: string, more: number) => {
		bytes += more;
		return {};
	};
	// Laying a step out only makes buffers, and writes to some.
	const counting = { maxBinding: gpu.maxBinding, buffer: count, uniform: count, write() {} };
	const codes = microRows(shape) * spec.loss.reduce((sum, term) => sum + codesPerRow(term, shape.d_sae), 0);
	const { layout, common, terms } = planBatch(counting as unknown as Gpu, spec, shape, codes).whole;
	const byDigits = common !== undefined && spec.loss.some(({ select }) => select.kind === "feature_topk");
	const batchLevel = spec.loss.some(({ select }) => isBatchLevel(select));
	const rows = batchLevel ? layout.paddedRows : layout.chunkRows;
	const halved = gpu.halfProduct && isReranked(spec, terms) ? halvedBytes(spec, layout) : 0;
	return bytes + halved + (byDigits ? digitBytes(layout) : 0) + rows * layout.latents * 4 * PRE_ACTIVATIONS;
}

/** What a product of halved operands needs besides: the halves, and the encoders of dead latents by themselves. */
function halvedBytes({ loss }: TrainingSpec, { paddedRows, latents, width }: Layout): number {
	const dead = loss.some((term) => term.latents === "dead") ? latents * width * 4 : 0;
	return (paddedRows + latents) * halfWidth(width) * 2 + dead;
}

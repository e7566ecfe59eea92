/** How much device memory training takes. */
import type { Gpu } from "../../kernels/gpu.ts";
import { planLayout } from "../../kernels/layout.ts";
import type { TrainingSpec } from "../architecture.ts";

/**
 * About how many bytes of device memory an SAE takes in training: weights and moments, pre-activations, and the rows
 * and codes of a batch.
 */
export function trainingBytes(
	gpu: Pick<Gpu, "maxBinding">,
	_spec: TrainingSpec,
	shape: { readonly d_in: number; readonly d_sae: number; readonly rows: number },
): number {
	const { width, latents, paddedRows, chunkRows } = planLayout(shape, gpu.maxBinding);
	return 4 * (3 * 2 * latents * width + 1.25 * chunkRows * latents + 5 * paddedRows * width);
}

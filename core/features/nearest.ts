/** Latents whose decoder rows point the same way, found by the kernels that encode. */
import type { Gpu } from "../../kernels/gpu.ts";
import type { NearLatent } from "../arrow/features.ts";
import { transposed } from "../matrix.ts";
import type { SaeModel } from "../sae.ts";
import type { DecoderRows } from "./decoder.ts";
import { RankedLists } from "./ranked-lists.ts";

/** Rows that are looked up at a time. */
const ROWS = 4096;

/**
 * Of every latent, the `most` others with the largest positive cosine; of equal ones the lower first. The decoder's unit
 * rows become the encoder of an SAE, and its inputs: pre-activations are cosines then, and TopK keeps the largest.
 */
export async function nearestLatents(
	gpu: Gpu,
	{ width, unit, norms }: DecoderRows,
	most: number,
	progress: (latents: number) => void = () => {},
): Promise<RankedLists<NearLatent>> {
	const d_sae = norms.length;
	// Loaded here, for who imports this module may need no GPU.
	const { openRuntime } = await import("../runtime.ts");
	const runtime = await openRuntime(gpu, cosineModel(unit, width, d_sae), {
		// A latent is its own nearest.
		select: { kind: "topk", k: Math.min(d_sae, most + 1) },
	});
	const found = new RankedLists(d_sae, most, (latent, cosine): NearLatent => ({ latent, cosine }));
	try {
		for (let first = 0; first < d_sae; first += ROWS) {
			const rows = Math.min(ROWS, d_sae - first);
			const codes = await runtime.encode(unit.subarray(first * width, (first + rows) * width), rows);
			for (let row = 0; row < rows; row++) {
				const near: NearLatent[] = [];
				for (let at = codes.offsets[row]!; at < codes.offsets[row + 1]!; at++) {
					const [latent, cosine] = [codes.index[at]!, codes.value[at]!];
					if (latent !== first + row) near.push({ latent, cosine: Math.min(1, cosine) });
				}
				near.sort((a, b) => b.cosine - a.cosine || a.latent - b.latent);
				found.set(
					first + row,
					near.map(({ latent, cosine }) => [latent, cosine]),
				);
			}
			progress(first + rows);
		}
	} finally {
		runtime.close();
	}
	return found;
}

/** Reconstructions are of no interest, and one number wide. */
function cosineModel(unit: Float32Array, width: number, d_sae: number): SaeModel {
	return {
		architecture: "cosines",
		d_in: width,
		d_out: 1,
		d_sae,
		apply_b_dec_to_input: false,
		normalize_activations: "none",
		settings: {},
		metadata: {},
		tensors: {
			W_enc: { shape: [width, d_sae], data: transposed(unit, d_sae, width) },
			b_enc: { shape: [d_sae], data: new Float32Array(d_sae) },
			W_dec: { shape: [d_sae, 1], data: new Float32Array(d_sae) },
			b_dec: { shape: [1], data: new Float32Array(1) },
		},
	};
}

/** TopK by its definition, in float64 on the CPU: the oracle for kernels, files and evaluators. */
import type { Codes, SaeModel } from "../../core/sae.ts";

/** Pre-activations [rows, d_sae] of `x` [rows, d_in]. */
export function preActivations(model: SaeModel, x: ArrayLike<number>, rows: number): Float64Array {
	const { d_in, d_sae, tensors } = model;
	const W_enc = tensors.W_enc!.data;
	const b_enc = tensors.b_enc!.data;
	const b_dec = tensors.b_dec!.data;
	const pre = new Float64Array(rows * d_sae);
	for (let row = 0; row < rows; row++) {
		for (let latent = 0; latent < d_sae; latent++) pre[row * d_sae + latent] = b_enc[latent]!;
		for (let i = 0; i < d_in; i++) {
			const centred = x[row * d_in + i]! - (model.apply_b_dec_to_input ? b_dec[i]! : 0);
			for (let latent = 0; latent < d_sae; latent++) {
				pre[row * d_sae + latent]! += centred * W_enc[i * d_sae + latent]!;
			}
		}
	}
	return pre;
}

/** The `k` largest pre-activations of each row that are positive; ties go to the lowest index. */
export function encodeTopK(model: SaeModel, x: ArrayLike<number>, rows: number, k: number): Codes {
	const { d_sae } = model;
	const pre = preActivations(model, x, rows);
	const offsets = new Uint32Array(rows + 1);
	const index: number[] = [];
	const value: number[] = [];
	for (let row = 0; row < rows; row++) {
		const z = pre.subarray(row * d_sae, (row + 1) * d_sae);
		const order = Array.from(z.keys()).sort((a, b) => z[b]! - z[a]! || a - b);
		for (const latent of order.slice(0, k).sort((a, b) => a - b)) {
			if (z[latent]! <= 0) continue;
			index.push(latent);
			value.push(z[latent]!);
		}
		offsets[row + 1] = index.length;
	}
	return { rows, offsets, index: Uint32Array.from(index), value: Float32Array.from(value) };
}

/** Reconstructions [rows, d_out], of inputs `x` [rows, d_in] where there is a skip connection. */
export function decode(model: SaeModel, codes: Codes, x?: ArrayLike<number>): Float64Array {
	const { d_in, d_out = d_in, tensors } = model;
	const W_skip = tensors.W_skip?.data;
	const W_dec = tensors.W_dec!.data;
	const b_dec = tensors.b_dec!.data;
	const out = new Float64Array(codes.rows * d_out);
	for (let row = 0; row < codes.rows; row++) {
		const target = out.subarray(row * d_out, (row + 1) * d_out);
		target.set(b_dec);
		if (W_skip) {
			for (let i = 0; i < d_out * d_in; i++) {
				target[Math.floor(i / d_in)]! += W_skip[i]! * x![row * d_in + (i % d_in)]!;
			}
		}
		for (let entry = codes.offsets[row]!; entry < codes.offsets[row + 1]!; entry++) {
			const start = codes.index[entry]! * d_out;
			for (let i = 0; i < d_out; i++) target[i]! += codes.value[entry]! * W_dec[start + i]!;
		}
	}
	return out;
}

/** A product of halved operands that any device can run, to see that what selects from it selects exactly. */
import { denseHalfHeader, type HalfProduct, halfHeader } from "../../kernels/tensor-product.ts";

const THREAD_ROWS = 8;

const FOUR = /* wgsl */ `
fn four(pair: vec2u) -> vec4f { return vec4f(unpack2x16float(pair.x), unpack2x16float(pair.y)); }`;

export const PLAIN_HALF_PRODUCT: HalfProduct = {
	rows: 64,
	latents: 64,
	code: (maximaOf, width) => /* wgsl */ `
${halfHeader(maximaOf, width, "vec2u")}
${FOUR}

@compute @workgroup_size(16, 8)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
	let latent = group.x * 64u + local.x * 4u;
	for (var i = 0u; i < ${THREAD_ROWS}u; i++) {
		let row = group.y * 64u + local.y * ${THREAD_ROWS}u + i;
		let a = (place.row + row) * place.pitch;
		let b = latent * place.pitch;
		var sums = vec4f();
		for (var k = 0u; k < place.pitch; k++) {
			let x = four(x_half[a + k]);
			sums += vec4f(
				dot(x, four(w_half[b + k])),
				dot(x, four(w_half[b + place.pitch + k])),
				dot(x, four(w_half[b + 2u * place.pitch + k])),
				dot(x, four(w_half[b + 3u * place.pitch + k])),
			);
		}
		let column = (place.latent + latent) / 4u;
		let pre = sums * (row_scale[place.row + row] * latent_scale[column]) + b_enc[column];
		summaries[row * place.stride + column] = summarise(place.row + row, pre);
	}
}
`,
	dense: (parts, biased) => /* wgsl */ `
${denseHalfHeader(biased, "vec2u")}
${FOUR}
@compute @workgroup_size(16, 8)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
	let latent = group.x * 64u + local.x * 4u;
	for (var i = 0u; i < ${THREAD_ROWS}u; i++) {
		let row = group.y * 64u + local.y * ${THREAD_ROWS}u + i;
		var sums = vec4f();
		for (var k = 0u; k < place.pitch; k++) {
			// Sixteen columns of each part lie behind each other.
			let a = ((place.row + row) * place.pitch + k / 4u * 4u) * ${parts.a}u + k % 4u;
			for (var j = 0u; j < 4u; j++) {
				let b = ((latent + j) * place.pitch + k / 4u * 4u) * ${parts.b}u + k % 4u;
				sums[j] += dot(four(x_half[a]), four(w_half[b]));
				${parts.a === 2 ? "sums[j] += dot(four(x_half[a + 4u]), four(w_half[b]));" : ""}
				${parts.b === 2 ? "sums[j] += dot(four(x_half[a]), four(w_half[b + 4u]));" : ""}
			}
		}
		store_four(row, (place.latent + latent) / 4u, sums);
	}
}
`,
};

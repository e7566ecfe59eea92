/** Buffers that programs make for themselves beside those that phases hand each other. */
import type { Gpu } from "../../kernels/gpu.ts";

export interface Scratch {
	/** A further buffer of float32 (or u32) elements. */
	floats(label: string, count: number): GPUBuffer;
	/** A uniform of u32 that never change. */
	constants(...words: number[]): GPUBuffer;
	/** For a program that never runs at the same time as the ones before: their buffers again, where large enough. */
	again(): Scratch;
	free(): void;
}

export function newScratch(gpu: Gpu): Scratch {
	const made: { readonly label: string; readonly count: number; readonly buffer: GPUBuffer }[] = [];
	const uniforms: GPUBuffer[] = [];
	const scratch = (): Scratch => {
		const taken = new Set<GPUBuffer>();
		return {
			floats(label, count) {
				let found = made.find(
					(one) => one.label === label && one.count >= count && !taken.has(one.buffer),
				)?.buffer;
				if (!found) {
					found = gpu.buffer(label, count * 4);
					made.push({ label, count, buffer: found });
				}
				taken.add(found);
				return found;
			},
			constants(...words) {
				const uniform = gpu.constants(...words);
				uniforms.push(uniform);
				return uniform;
			},
			again: scratch,
			free() {
				for (const { buffer } of made) buffer.destroy();
				for (const uniform of uniforms) uniform.destroy();
			},
		};
	};
	return scratch();
}

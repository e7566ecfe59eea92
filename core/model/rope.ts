import type { Rope } from "./spec.ts";

/** (cos, sin) of every pair's angle at every position, [positions, dims / 2, 2]; angles are float32, as transformers has them. */
export function turnsOf({ frequencies }: Rope, positions: number): Float32Array<ArrayBuffer> {
	const half = frequencies.length;
	const turns = new Float32Array(positions * half * 2);
	for (let position = 0; position < positions; position++) {
		for (let i = 0; i < half; i++) {
			const angle = Math.fround(position * frequencies[i]!);
			turns[2 * (position * half + i)] = Math.cos(angle);
			turns[2 * (position * half + i) + 1] = Math.sin(angle);
		}
	}
	return turns;
}

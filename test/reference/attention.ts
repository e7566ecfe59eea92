/** Causal attention of sequences that lie behind each other, by its formula in float64. */
import type { AttentionShape } from "../../kernels/model/attention.ts";

/** Queries, and keys that came before them. */
export interface Asked {
	readonly queries: number;
	readonly past: number;
}

/** The blocks of so many queries that kernels work on: { first query's row, queries, first key's row, first position }. */
export function blocksOf(sequences: readonly Asked[], size: number): Uint32Array {
	const blocks: number[] = [];
	let [row, firstKey] = [0, 0];
	for (const { queries, past } of sequences) {
		for (let i = 0; i < queries; i += size) {
			blocks.push(row + i, Math.min(size, queries - i), firstKey, past + i);
		}
		row += queries;
		firstKey += queries + past;
	}
	return Uint32Array.from(blocks);
}

/** [queries, stride] */
export function attention(
	{ d_head, group, stride, keyStride, scale, softcap, window }: AttentionShape,
	heads: number,
	sequences: readonly Asked[],
	{ q, k, v }: Readonly<Record<"q" | "k" | "v", Float32Array>>,
): Float64Array {
	const rows = sequences.reduce((sum, { queries }) => sum + queries, 0);
	const wanted = new Float64Array(rows * stride);
	let [row, firstKey] = [0, 0];
	for (const { queries, past } of sequences) {
		for (let i = 0; i < queries; i++) {
			for (let head = 0; head < heads; head++) {
				const own = Math.floor(head / group) * d_head;
				const first = window > 0 ? Math.max(0, past + i + 1 - window) : 0;
				const scores: number[] = [];
				for (let key = first; key <= past + i; key++) {
					let score = 0;
					for (let d = 0; d < d_head; d++) {
						score += q[(row + i) * stride + head * d_head + d]! * k[(firstKey + key) * keyStride + own + d]!;
					}
					score *= scale;
					scores.push(softcap > 0 ? softcap * Math.tanh(score / softcap) : score);
				}
				const top = Math.max(...scores);
				const weights = scores.map((score) => Math.exp(score - top));
				const total = weights.reduce((sum, weight) => sum + weight, 0);
				for (const [j, weight] of weights.entries()) {
					for (let d = 0; d < d_head; d++) {
						wanted[(row + i) * stride + head * d_head + d]! +=
							(weight / total) * v[(firstKey + first + j) * keyStride + own + d]!;
					}
				}
			}
		}
		row += queries;
		firstKey += queries + past;
	}
	return wanted;
}

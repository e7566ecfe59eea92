/** Codes for tests of features, and what is to be known of a latent, computed plainly. */
import type { RowFacts } from "../../../core/features/recent-rows.ts";
import type { Codes } from "../../../core/sae.ts";
import { randomStream } from "../../reference/models.ts";

export interface Active {
	readonly row: number;
	readonly value: number;
}

export interface MadeUp {
	readonly codes: Codes;
	readonly facts: RowFacts & { readonly documents: Uint32Array; readonly positions: Uint32Array };
}

/**
 * Rows of documents of 1 to 60 tokens, most with up to four latents. Values are multiples of 1/8, so that many are
 * equal; latent 0 is never active, latent 1 always, and even latents have values of either sign if `signed`.
 */
export function madeUp(rows: number, d_sae: number, signed: boolean, seed = 1): MadeUp {
	const random = randomStream(seed);
	const offsets = new Uint32Array(rows + 1);
	const index: number[] = [];
	const value: number[] = [];
	const documents = new Uint32Array(rows);
	const positions = new Uint32Array(rows);
	for (let row = 0, left = 0, document = -1, position = 0; row < rows; row++) {
		if (left-- === 0) {
			left = Math.floor(random() * 60);
			position = 0;
			document++;
		}
		documents[row] = document;
		positions[row] = position++;
		const active = new Set([1]);
		const others = Math.floor(random() * 5);
		for (let i = 0; i < others; i++) active.add(2 + Math.floor(random() ** 2 * (d_sae - 2)));
		if (random() < 0.1) active.clear();
		for (const latent of [...active].sort((a, b) => a - b)) {
			const size = (1 + Math.floor(random() * 400)) / 8;
			index.push(latent);
			value.push(signed && latent % 2 === 0 && random() < 0.4 ? -size : size);
		}
		offsets[row + 1] = index.length;
	}
	return {
		codes: { rows, offsets, index: Uint32Array.from(index), value: Float32Array.from(value) },
		facts: {
			tokens: Uint32Array.from({ length: rows }, (_, row) => row * 7),
			documents,
			positions,
			alone: false,
		},
	};
}

/** The batches of some rows that lie between these. */
export function cut({ codes, facts }: MadeUp, at: readonly number[]): MadeUp[] {
	const ends = [...at, codes.rows];
	return ends.map((to, i) => {
		const from = i === 0 ? 0 : ends[i - 1]!;
		const [begin, end] = [codes.offsets[from]!, codes.offsets[to]!];
		return {
			codes: {
				rows: to - from,
				offsets: codes.offsets.slice(from, to + 1).map((offset) => offset - begin),
				index: codes.index.slice(begin, end),
				value: codes.value.slice(begin, end),
			},
			facts: {
				tokens: facts.tokens!.slice(from, to),
				documents: facts.documents.slice(from, to),
				positions: facts.positions.slice(from, to),
				alone: facts.alone,
			},
		};
	});
}

/** Activations by latent, in order. */
export function activations({ rows, offsets, index, value }: Codes, d_sae: number): Active[][] {
	const all: Active[][] = Array.from({ length: d_sae }, () => []);
	for (let row = 0; row < rows; row++) {
		for (let at = offsets[row]!; at < offsets[row + 1]!; at++)
			all[index[at]!]!.push({ row, value: value[at]! });
	}
	return all;
}

/** Largest first; of equal ones the earliest. */
export function sorted(active: readonly Active[]): Active[] {
	return [...active].sort((a, b) => b.value - a.value || a.row - b.row);
}

/** The best rows, one of each window of `size` rows of a document. */
export function topOf(
	active: readonly Active[],
	{ positions, documents }: MadeUp["facts"],
	size: number,
	most: number,
) {
	const windows = new Set<string>();
	return sorted(active)
		.filter(({ row }) => {
			const window = `${documents[row]} ${Math.floor(positions[row]! / size)}`;
			return !windows.has(window) && windows.add(window);
		})
		.slice(0, most);
}

/** Rows of a document around one of them. */
export function contextOf(
	row: number,
	{ documents }: MadeUp["facts"],
	before: number,
	after: number,
): number[] {
	const rows = Array.from({ length: before + 1 + after }, (_, i) => row - before + i);
	return rows.filter((other) => documents[other] === documents[row]);
}

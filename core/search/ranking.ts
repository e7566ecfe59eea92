/** The best rows of a stream, as it goes by. */
import type { RecordBatch } from "apache-arrow";
import { takeRows } from "../arrow/take.ts";

/** A row that is among the best. */
export interface Ranked<Extra> {
	/** Number of the row in the stream, from 0. */
	readonly row: number;
	readonly score: number;
	readonly extra: Extra;
}

/**
 * Keeps the rows with the highest scores, best first; of equal ones the earlier. Memory: those rows and the batch
 * that is added.
 */
export class Ranking<Extra> {
	readonly #most: number;
	#ranked: readonly Ranked<Extra>[] = [];
	#columns: RecordBatch | undefined;
	#rows = 0;

	constructor(most: number) {
		this.#most = most;
	}

	/** Rows that were added, of any score. */
	get rows(): number {
		return this.#rows;
	}

	get ranked(): readonly Ranked<Extra>[] {
		return this.#ranked;
	}

	/** The columns of the ranked rows, in their order; undefined before any batch. */
	get columns(): RecordBatch | undefined {
		return this.#columns;
	}

	/**
	 * Adds the next rows of the stream.
	 *
	 * @param scores of each; NaN for a row that is no result.
	 * @param extra what to keep of a row of the batch besides its columns.
	 */
	add(batch: RecordBatch, scores: Float64Array, extra: (row: number) => Extra): void {
		const first = this.#rows;
		this.#rows += batch.numRows;
		const kept = this.#ranked.length;
		const least = kept < this.#most ? Number.NEGATIVE_INFINITY : this.#ranked.at(-1)!.score;
		const entering = Array.from(scores.keys())
			.filter((row) => scores[row]! > least)
			.sort((a, b) => scores[b]! - scores[a]! || a - b)
			.slice(0, this.#most);
		if (entering.length === 0 && this.#columns) return;
		const all = [
			...this.#ranked.map((ranked, place) => ({ place, ranked })),
			...entering.map((row) => ({
				place: kept + row,
				ranked: { row: first + row, score: scores[row]!, extra: extra(row) },
			})),
		];
		all.sort((a, b) => b.ranked.score - a.ranked.score || a.ranked.row - b.ranked.row);
		const best = all.slice(0, this.#most);
		const batches = this.#columns ? [this.#columns, batch] : [batch];
		this.#columns = takeRows(
			batches,
			Uint32Array.from(best, ({ place }) => place),
		);
		this.#ranked = best.map(({ ranked }) => ranked);
	}
}

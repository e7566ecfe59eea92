/** Which latents a person asks for, and in which order. Pure data. */
import { DENSE, type Labels } from "../format.ts";

export interface Searchable {
	readonly columns: Readonly<Record<string, Float32Array | Float64Array>>;
	readonly labels: Labels;
}

export type Direction = "ascending" | "descending";

/** Searches and sorts; knows the text of every latent after the first search. */
export class Search {
	readonly #data: Searchable;
	#texts: string[] | undefined;

	constructor(data: Searchable) {
		this.#data = data;
	}

	/**
	 * Rows that have every word, in the order of a column. A number is also a latent's number, `is:dead` and `is:dense`
	 * are those. Rows without a value in the column come last.
	 */
	find(query: string, column: string, direction: Direction): Uint32Array {
		const values = this.#data.columns[column]!;
		const rows = this.#matching(query);
		const sign = direction === "ascending" ? 1 : -1;
		return rows.sort((a, b) => {
			const [left, right] = [values[a]!, values[b]!];
			if (Number.isNaN(left) || Number.isNaN(right)) {
				return Number(Number.isNaN(left)) - Number(Number.isNaN(right)) || a - b;
			}
			return sign * (left - right) || a - b;
		});
	}

	#matching(query: string): Uint32Array {
		const words = query
			.toLowerCase()
			.split(/\s+/)
			.filter((word) => word !== "");
		const { latent, density } = this.#data.columns;
		const all = Uint32Array.from(latent!, (_, row) => row);
		if (words.length === 0) return all;
		this.#texts ??= textsOf(this.#data);
		const texts = this.#texts;
		const tests = words.map((word): ((row: number) => boolean) => {
			if (word === "is:dead") return (row) => density![row] === 0;
			if (word === "is:dense") return (row) => density![row]! > DENSE;
			const number = /^#?(\d+)$/.exec(word)?.[1];
			return (row) => texts[row]!.includes(word) || (number !== undefined && latent![row] === Number(number));
		});
		return all.filter((row) => tests.every((test) => test(row)));
	}
}

function textsOf({ columns: { latent }, labels: { tokens, texts } }: Searchable): string[] {
	const columns = Object.values(texts);
	return Array.from(latent!, (_, row) =>
		[...tokens[row]!, ...columns.map((column) => column[row] ?? "")].join("\n").toLowerCase(),
	);
}

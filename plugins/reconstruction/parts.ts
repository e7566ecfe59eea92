/** The same figures for parts of what is evaluated: each layer's rows, each of several columns. */
import type { Codes } from "saeflow";
import { Activity } from "./activity.ts";
import { Fidelity } from "./fidelity.ts";

/** Rows of a batch with their reconstructions, both [rows, width], and their codes. */
export interface Evaluated {
	readonly x: Float32Array;
	readonly y: Float32Array;
	readonly codes: Codes;
}

type Figures = Record<string, number | string | null>;

/** Figures of every layer's rows, by the number of the layer. */
export class LayerFigures {
	readonly #parts = new Map<number, { fidelity: Fidelity; activity: Activity }>();
	readonly #width: number;
	readonly #d_sae: number;

	constructor(width: number, d_sae: number) {
		this.#width = width;
		this.#d_sae = d_sae;
	}

	/** @param layers the layer of each row. */
	add(layers: Uint32Array, { x, y, codes }: Evaluated): void {
		for (const [row, layer] of layers.entries()) {
			const { fidelity, activity } = this.#part(layer);
			const begin = row * this.#width;
			fidelity.add(x.subarray(begin, begin + this.#width), y.subarray(begin, begin + this.#width));
			activity.add({ ...codes, rows: 1, offsets: codes.offsets.subarray(row, row + 2) });
		}
	}

	#part(layer: number) {
		const known = this.#parts.get(layer);
		if (known) return known;
		const part = {
			fidelity: new Fidelity(this.#width, { legacy: false }),
			activity: new Activity(this.#d_sae),
		};
		this.#parts.set(layer, part);
		return part;
	}

	/** A row for each layer, unless there is only one. */
	finish(): Figures[] {
		if (this.#parts.size < 2) return [];
		return [...this.#parts]
			.sort(([a], [b]) => a - b)
			.map(([layer, { fidelity, activity }]) => ({
				of: `layer ${layer}`,
				...fidelity.finish(),
				...activity.finish(),
			}));
	}
}

/** Figures of every column that is reconstructed; codes belong to all of them. */
export class ColumnFigures {
	readonly #columns: readonly string[];
	#parts: readonly { readonly begin: number; readonly end: number; readonly fidelity: Fidelity }[] = [];
	#width = 0;

	constructor(columns: readonly string[]) {
		this.#columns = columns;
	}

	/** @param widths of the columns. */
	add(widths: readonly number[], { x, y }: Evaluated): void {
		if (this.#columns.length < 2 || x.length === 0) return;
		if (this.#width === 0) {
			this.#parts = widths.map((width, i) => {
				const begin = widths.slice(0, i).reduce((sum, before) => sum + before, 0);
				return { begin, end: begin + width, fidelity: new Fidelity(width, { legacy: false }) };
			});
			this.#width = widths.reduce((sum, width) => sum + width, 0);
		}
		for (let row = 0; row < x.length; row += this.#width) {
			for (const { begin, end, fidelity } of this.#parts) {
				fidelity.add(x.subarray(row + begin, row + end), y.subarray(row + begin, row + end));
			}
		}
	}

	/** A row for each column, where there are several. */
	finish(): Figures[] {
		return this.#parts.map(({ fidelity }, i) => ({ of: `column ${this.#columns[i]}`, ...fidelity.finish() }));
	}
}

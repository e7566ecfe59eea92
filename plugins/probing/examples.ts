/** Labelled examples out of a stream: the label, the activations, and the latents of each. */
import type { RecordBatch } from "apache-arrow";
import type { Codes, Core } from "saeflow";
import type { Design } from "./logistic.ts";

/** Sparse rows, by ascending index. */
export interface SparseRow {
	readonly index: Uint32Array;
	readonly value: Float64Array;
}

export interface Example {
	readonly label: string;
	readonly activations: Float64Array;
	readonly latents: SparseRow;
}

/** The values of a column as text, e.g. labels that are words or numbers. */
export function textColumn({ SaeError }: Core, batch: RecordBatch, name: string): string[] {
	const column = batch.getChild(name);
	if (!column) {
		const columns = batch.schema.fields.map((field) => field.name).join(", ");
		throw new SaeError(`no column ${name}; the stream has: ${columns}`);
	}
	return Array.from({ length: batch.numRows }, (_, row) => {
		const value: unknown = column.get(row);
		if (["string", "number", "bigint", "boolean"].includes(typeof value)) return String(value);
		throw new SaeError(`column ${name}: has ${value} at a row; labels are words or numbers`);
	});
}

/** Takes rows and gives examples: each row by itself, or the mean over neighbours that are of one group. */
export class Examples {
	readonly all: Example[] = [];
	readonly #core: Core;
	readonly #width: number;
	#group: string | undefined;
	#label = "";
	#rows = 0;
	#activations: Float64Array;
	readonly #latents = new Map<number, number>();

	constructor(core: Core, width: number) {
		this.#core = core;
		this.#width = width;
		this.#activations = new Float64Array(width);
	}

	/** `groups`: of each row; without them every row is an example. */
	add(
		labels: readonly string[],
		groups: readonly string[] | undefined,
		inputs: Float32Array,
		codes: Codes,
	): void {
		for (const [row, label] of labels.entries()) {
			const group = groups?.[row];
			if (group === undefined || group !== this.#group) this.finish();
			if (this.#rows > 0 && label !== this.#label) {
				throw new this.#core.SaeError(
					`rows of the group ${group} have the labels ${this.#label} and ${label}; an example has one`,
				);
			}
			[this.#group, this.#label] = [group, label];
			this.#rows++;
			for (let i = 0; i < this.#width; i++) this.#activations[i]! += inputs[row * this.#width + i]!;
			for (let entry = codes.offsets[row]!; entry < codes.offsets[row + 1]!; entry++) {
				const latent = codes.index[entry]!;
				this.#latents.set(latent, (this.#latents.get(latent) ?? 0) + codes.value[entry]!);
			}
		}
	}

	/** Ends the last group. */
	finish(): void {
		const rows = this.#rows;
		if (rows === 0) return;
		const entries = [...this.#latents].filter(([, value]) => value !== 0).sort(([a], [b]) => a - b);
		this.all.push({
			label: this.#label,
			activations: this.#activations.map((value) => value / rows),
			latents: {
				index: Uint32Array.from(entries, ([latent]) => latent),
				value: Float64Array.from(entries, ([, value]) => value / rows),
			},
		});
		this.#activations = new Float64Array(this.#width);
		this.#latents.clear();
		this.#rows = 0;
	}
}

export function sparseDesign(rows: readonly SparseRow[], width: number): Design {
	return {
		rows: rows.length,
		width,
		dot(row, weights) {
			const { index, value } = rows[row]!;
			let sum = 0;
			for (let i = 0; i < index.length; i++) sum += value[i]! * weights[index[i]!]!;
			return sum;
		},
		add(row, scale, into) {
			const { index, value } = rows[row]!;
			for (let i = 0; i < index.length; i++) into[index[i]!]! += scale * value[i]!;
		},
	};
}

export function denseDesign(rows: readonly Float64Array[], width: number): Design {
	return {
		rows: rows.length,
		width,
		dot(row, weights) {
			const values = rows[row]!;
			let sum = 0;
			for (let i = 0; i < width; i++) sum += values[i]! * weights[i]!;
			return sum;
		},
		add(row, scale, into) {
			const values = rows[row]!;
			for (let i = 0; i < width; i++) into[i]! += scale * values[i]!;
		},
	};
}

/** Some columns of a design. */
export function columnsOf(design: Design, columns: readonly number[]): Design {
	const taken = Array.from({ length: design.rows }, () => new Float64Array(columns.length));
	const picked = new Float64Array(design.width);
	columns.forEach((column, c) => {
		picked[column] = 1;
		taken.forEach((values, row) => {
			values[c] = design.dot(row, picked);
		});
		picked[column] = 0;
	});
	return denseDesign(taken, columns.length);
}

/** The columns whose means over both labels are furthest apart, largest difference first; ties go to the lower index. */
export function mostDifferent(design: Design, labels: ArrayLike<number>, most: number): number[] {
	const difference = new Float64Array(design.width);
	let positives = 0;
	for (let row = 0; row < design.rows; row++) if (labels[row]) positives++;
	for (let row = 0; row < design.rows; row++) {
		design.add(row, labels[row] ? 1 / positives : -1 / (design.rows - positives), difference);
	}
	const size = difference.map(Math.abs);
	return Array.from(size.keys())
		.sort((a, b) => size[b]! - size[a]! || a - b)
		.slice(0, most);
}

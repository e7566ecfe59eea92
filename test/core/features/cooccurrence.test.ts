import { expect, test } from "bun:test";
import { mixed } from "../../../core/features/hash.ts";
import { type Cooccurrence, PairCounts } from "../../../core/features/pairs.ts";
import { RowSketches } from "../../../core/features/sketch.ts";
import { randomStream } from "../../reference/models.ts";

const D_SAE = 60;

/** Latents 2i and 2i + 1 are together more often the larger i is; others by chance. 2 to 5 are of a tenth of 0's rows. */
function planted(rows: number): Set<number>[] {
	const random = randomStream(4);
	return Array.from({ length: rows }, () => {
		const active = new Set<number>();
		for (let pair = 0; pair < D_SAE / 2; pair++) {
			const rate = 0.02 + 0.2 * random();
			const first = random() < rate;
			const second = random() < pair / 30 ? first : random() < rate;
			if (first) active.add(2 * pair);
			if (second) active.add(2 * pair + 1);
		}
		for (const latent of [2, 3, 4, 5]) {
			active.delete(latent);
			if (active.has(0) && random() < 0.1) active.add(latent);
		}
		active.delete(7);
		return active;
	});
}

function counted(rows: readonly Set<number>[]): Cooccurrence {
	const offsets = new Uint32Array(rows.length + 1);
	for (const [i, { size }] of rows.entries()) offsets[i + 1] = offsets[i]! + size;
	const index = Uint32Array.from(rows.flatMap((row) => [...row].sort((a, b) => a - b)));
	const pairs = new PairCounts(D_SAE);
	for (let latent = 0; latent < D_SAE; latent++) {
		const places = Uint32Array.from([...rows.keys()].filter((row) => rows[row]!.has(latent)));
		// In two parts, as blocks are.
		const half = places.length >> 1;
		pairs.add(latent, { offsets, index }, places, 0, half);
		pairs.add(latent, { offsets, index }, places, half, places.length);
	}
	return pairs.finish({ rows: rows.length, counts: countsOf(rows) });
}

function countsOf(rows: readonly Set<number>[]): Float64Array {
	const counts = new Float64Array(D_SAE);
	for (const row of rows) for (const latent of row) counts[latent]!++;
	return counts;
}

/** Jaccard similarity and correlation of two latents, by their definitions. */
function exact(rows: readonly Set<number>[], a: number, b: number) {
	const x = rows.map((row) => (row.has(a) ? 1 : 0));
	const y = rows.map((row) => (row.has(b) ? 1 : 0));
	const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
	const [mx, my] = [mean(x), mean(y)];
	const both = x.filter((value, i) => value === 1 && y[i] === 1).length;
	const either = x.filter((value, i) => value === 1 || y[i] === 1).length;
	const covariance = mean(x.map((value, i) => (value - mx) * (y[i]! - my)));
	const spread = Math.sqrt(mx * (1 - mx) * my * (1 - my));
	return { both, jaccard: either === 0 ? 0 : both / either, phi: spread === 0 ? 0 : covariance / spread };
}

function sketched(rows: readonly Set<number>[], size: number): Cooccurrence {
	const sketches = new RowSketches(D_SAE, size);
	const hashes = Uint32Array.from(rows, (_, row) => mixed(row + 12345));
	for (let latent = 0; latent < D_SAE; latent++) {
		for (const [from, to] of [
			[0, 700],
			[700, rows.length],
		] as const) {
			const places = Uint32Array.from(
				[...rows.keys()].slice(from, to).filter((row) => rows[row]!.has(latent)),
			);
			sketches.add(latent, hashes, places, 0, places.length);
		}
	}
	return sketches.finish({ rows: rows.length, counts: countsOf(rows) });
}

test("every pair is counted", () => {
	const rows = planted(400);
	const found = counted(rows);
	expect(found.description).toStartWith("exact");
	for (let latent = 0; latent < D_SAE; latent++) {
		const wanted = [...Array(D_SAE).keys()]
			.map((other) => ({ latent: other, ...exact(rows, latent, other) }))
			.filter(({ latent: other, both }) => other !== latent && both > 0)
			.sort((a, b) => b.jaccard - a.jaccard || a.latent - b.latent)
			.slice(0, 5);
		const own = found.of(latent, 5);
		expect(own.map(({ latent: other }) => other)).toEqual(wanted.map(({ latent: other }) => other));
		for (const [i, { jaccard, phi }] of own.entries()) {
			expect(jaccard).toBe(wanted[i]!.jaccard);
			expect(phi).toBeCloseTo(wanted[i]!.phi, 10);
		}
	}
	expect(found.of(7, 5)).toEqual([]);
});

test("a sketch of all rows is exact", () => {
	const rows = planted(400);
	const found = sketched(rows, 400);
	const wanted = counted(rows);
	for (let latent = 0; latent < D_SAE; latent++) {
		const own = found.of(latent, 6);
		const other = wanted.of(latent, 6);
		expect(own.map((one) => [one.latent, one.jaccard])).toEqual(
			other.map((one) => [one.latent, one.jaccard]),
		);
		for (const [i, { phi }] of own.entries()) expect(phi).toBeCloseTo(other[i]!.phi, 10);
	}
});

test("sketches are as exact as they say, and find what was planted", () => {
	const SIZE = 64;
	const rows = planted(8000);
	const found = sketched(rows, SIZE);
	expect(found.description).toContain("sqrt(J (1 - J) / 64)");
	const errors: number[] = [];
	for (let latent = 0; latent < D_SAE; latent++) {
		for (const { latent: other, jaccard, phi } of found.of(latent, D_SAE)) {
			const truth = exact(rows, latent, other);
			errors.push((jaccard - truth.jaccard) / Math.sqrt((truth.jaccard * (1 - truth.jaccard)) / SIZE));
			expect(Math.abs(phi - truth.phi)).toBeLessThan(0.35);
		}
	}
	expect(errors.length).toBeGreaterThan(1000);
	const rms = Math.sqrt(errors.reduce((sum, error) => sum + error * error, 0) / errors.length);
	// Pairs that share no kept row are not listed, which leaves out some that are too low.
	expect(rms).toBeGreaterThan(0.5);
	expect(rms).toBeLessThan(1.1);
	const few = [2, 3, 4, 5].map((rare) => found.of(rare, D_SAE).find(({ latent }) => latent === 0)!.jaccard);
	expect(few.reduce((sum, jaccard) => sum + jaccard / 4, 0)).toBeCloseTo(0.1, 1);
	expect(Math.min(...few)).toBeGreaterThan(0.055);
	const partners = [...Array(D_SAE).keys()].slice(30);
	for (const latent of partners) expect(found.of(latent, 1)[0]!.latent).toBe(latent ^ 1);
});

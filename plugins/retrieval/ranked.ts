/** The best of many scores, and how good a list of found rows is. */

/** Numbers of the `most` rows with the highest scores, best first; the lower of equal ones first. */
export function bestRows(scores: ArrayLike<number>, most: number): Uint32Array {
	const best = new Uint32Array(Math.min(most, scores.length));
	let found = 0;
	for (let row = 0; row < scores.length; row++) {
		const score = scores[row]!;
		if (found === best.length && score <= scores[best[found - 1]!]!) continue;
		let place = found < best.length ? found++ : found - 1;
		for (; place > 0 && scores[best[place - 1]!]! < score; place--) best[place] = best[place - 1]!;
		best[place] = row;
	}
	return best;
}

/** Share of `wanted` that is among `found`. */
export function recall(found: Uint32Array, wanted: Uint32Array): number {
	const there = new Set(found);
	return wanted.filter((row) => there.has(row)).length / wanted.length;
}

/**
 * Normalised discounted cumulative gain of a ranking whose rows are relevant or not: Σ 1 / log2(rank + 1) over relevant
 * ones, over the same of the best ranking that there could be.
 *
 * @param relevant how many rows are relevant in all, found or not; 1 or more.
 */
export function ndcg(hits: readonly boolean[], relevant: number): number {
	const gain = hits.reduce((sum, hit, place) => (hit ? sum + discount(place) : sum), 0);
	return gain / idealGain(Math.min(relevant, hits.length));
}

/** The gain of `count` relevant rows at the top. */
export function idealGain(count: number): number {
	let gain = 0;
	for (let place = 0; place < count; place++) gain += discount(place);
	return gain;
}

function discount(place: number): number {
	return 1 / Math.log2(place + 2);
}

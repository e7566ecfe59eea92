/** Cross-entropy and KL of logits, in float64. */

/** log p of every token. */
export function logProbabilities(logits: readonly number[]): number[] {
	const top = Math.max(...logits);
	const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - top), 0)) + top;
	return logits.map((logit) => logit - total);
}

/** −log p of the token that came next, for all rows but the last. */
export function crossEntropies(logits: readonly number[][], tokens: readonly number[]): number[] {
	return tokens.slice(1).map((next, row) => -logProbabilities(logits[row]!)[next]!);
}

/** KL(p ‖ q) of each row. */
export function divergences(p: readonly number[][], q: readonly number[][]): number[] {
	return p.map((row, i) => {
		const [clean, changed] = [logProbabilities(row), logProbabilities(q[i]!)];
		return clean.reduce((sum, log, token) => sum + Math.exp(log) * (log - changed[token]!), 0);
	});
}

export function mean(values: readonly number[]): number {
	return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** W_dec [d_sae, d_out] of an archetypal decoder: exp(s) · (A · C + R), on the host, in float64. */
export function composeAtoms(
	{ candidates, mixture, relaxation, log_scale }: Readonly<Record<string, ArrayLike<number>>>,
	d_out: number,
): Float64Array {
	const n = candidates!.length / d_out;
	const atoms = Float64Array.from(relaxation!);
	for (let i = 0; i < mixture!.length; i++) {
		const share = mixture![i]!;
		// Mixtures begin with one candidate each.
		if (share === 0) continue;
		const row = Math.floor(i / n) * d_out;
		const candidate = (i % n) * d_out;
		for (let column = 0; column < d_out; column++) {
			atoms[row + column]! += share * candidates![candidate + column]!;
		}
	}
	const scale = Math.exp(log_scale![0]!);
	return atoms.map((value) => value * scale);
}

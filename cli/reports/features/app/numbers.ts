/** Numbers as text, for people. */

/** Four digits; whole numbers whole, with separators. */
export function shown(value: number): string {
	if (!Number.isFinite(value)) return "–";
	if (Number.isInteger(value)) return value.toLocaleString("en");
	const size = Math.abs(value);
	if (size >= 1e-3 && size < 1e5) return String(Number(value.toPrecision(4)));
	return value.toExponential(2);
}

/** A share in percent. */
export function percent(value: number): string {
	if (!Number.isFinite(value)) return "–";
	const hundred = 100 * value;
	return `${hundred === 0 || hundred >= 0.01 ? Number(hundred.toPrecision(3)) : hundred.toExponential(1)} %`;
}

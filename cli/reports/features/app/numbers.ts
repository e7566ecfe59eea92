/** Numbers as text, for people. */

/** Four digits; whole numbers whole, with separators. */
export function shown(value: number): string {
	if (!Number.isFinite(value)) return "–";
	if (Number.isInteger(value)) return value.toLocaleString("en");
	const size = Math.abs(value);
	if (size >= 1e-3 && size < 1e5) return String(Number(value.toPrecision(4)));
	return value.toExponential(2);
}

/** Numbers below each other: with as many decimals as the largest of them, `most`, has of four digits. */
export function aligned(value: number, most: number): string {
	const size = Math.abs(most);
	if (!(size >= 1e-4 && size < 1e5)) return shown(value);
	return value.toFixed(Math.max(0, 3 - Math.floor(Math.log10(size))));
}

/** A column's name as words. */
export function spaced(name: string): string {
	return name.replaceAll("_", " ");
}

/** A share in percent. */
export function percent(value: number): string {
	if (!Number.isFinite(value)) return "–";
	const hundred = 100 * value;
	return `${hundred === 0 || hundred >= 0.01 ? Number(hundred.toPrecision(3)) : hundred.toExponential(1)} %`;
}

/** Copies rows of row-major arrays in another order. */

type NumberArray = Float32Array | Uint8Array | Uint16Array | Uint32Array;

/**
 * Copies the rows `order[from]`, `order[from + 1]`, … of `source`, `count` in all, to `target` from its row
 * `targetRow` on. Rows have `width` values.
 */
export function gatherRows<A extends NumberArray>(
	target: A,
	targetRow: number,
	source: A,
	width: number,
	order: Uint32Array,
	from = 0,
	count = order.length - from,
): void {
	if (width === 1) {
		for (let i = 0; i < count; i++) target[targetRow + i] = source[order[from + i]!]!;
		return;
	}
	// Whole rows as bytes: a view for each of them would take longer than its copy.
	const bytes = width * source.BYTES_PER_ELEMENT;
	const [into, outOf] = [target, source].map((array) =>
		Buffer.from(array.buffer as ArrayBuffer, array.byteOffset, array.byteLength),
	) as [Buffer, Buffer];
	for (let i = 0; i < count; i++) {
		const start = order[from + i]! * bytes;
		outOf.copy(into, (targetRow + i) * bytes, start, start + bytes);
	}
}

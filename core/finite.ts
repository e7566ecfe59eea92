/** Finds values that are not finite, by their bits and without a branch per value. */

/** The index of the first NaN or infinity in `data` (float32, or float16 bits), or -1. */
export function firstNonFinite(data: Float32Array | Uint16Array): number {
	const clean = data instanceof Float32Array ? isFinite32(data) : isFinite16(data);
	if (clean) return -1;
	if (data instanceof Float32Array) return data.findIndex((value) => !Number.isFinite(value));
	return data.findIndex((bits) => (bits & 0x7c00) === 0x7c00);
}

/** Adding one to an exponent of all ones, and to no other, carries into the sign bit. */
function isFinite32(data: Float32Array): boolean {
	const words = new Int32Array(data.buffer, data.byteOffset, data.length);
	let carried = 0;
	for (let i = 0; i < words.length; i++) carried |= (words[i]! & 0x7fffffff) + 0x00800000;
	return carried >= 0;
}

function isFinite16(data: Uint16Array): boolean {
	let carried = 0;
	// Two halves at a time, where the data begins on a whole word.
	const paired = data.byteOffset % 4 === 0 ? data.length >> 1 : 0;
	const words = new Int32Array(data.buffer, paired > 0 ? data.byteOffset : 0, paired);
	for (let i = 0; i < words.length; i++) carried |= (words[i]! & 0x7fff7fff) + 0x04000400;
	for (let i = 2 * paired; i < data.length; i++) carried |= (data[i]! & 0x7fff) + 0x0400;
	return (carried & 0x80008000) === 0;
}

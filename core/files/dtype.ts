/** Element types of arrays in files, all little-endian, and what they become in memory. */
import type { VectorType } from "../arrow/activations.ts";
import { SaeError } from "../errors.ts";

/** Bytes per element. Names are those of safetensors in lower case. */
export const DTYPE_BYTES = {
	bool: 1,
	u8: 1,
	i8: 1,
	u16: 2,
	i16: 2,
	f16: 2,
	bf16: 2,
	u32: 4,
	i32: 4,
	f32: 4,
	u64: 8,
	i64: 8,
	f64: 8,
} as const;

export type Dtype = keyof typeof DTYPE_BYTES;

export function isDtype(name: string): name is Dtype {
	return Object.hasOwn(DTYPE_BYTES, name);
}

/** Values as float32. `bytes` holds whole elements; float32 is not copied where it is aligned. */
export function toFloat32(bytes: Uint8Array, dtype: Dtype): Float32Array {
	switch (dtype) {
		case "f32":
			return typedView(Float32Array, bytes);
		case "bf16":
			return fromBfloat16(typedView(Uint16Array, bytes));
		case "bool":
			return Float32Array.from(bytes, (byte) => (byte === 0 ? 0 : 1));
		default:
			return toFloats(typedView(ARRAYS[dtype], bytes));
	}
}

/** Values as a stream carries them: float16 stays, by its bits; everything else becomes float32. */
export function toVectorValues(
	bytes: Uint8Array,
	dtype: Dtype,
): { data: Float32Array | Uint16Array; type: VectorType } {
	if (dtype === "f16") return { data: typedView(Uint16Array, bytes), type: "float16" };
	return { data: toFloat32(bytes, dtype), type: "float32" };
}

/** The values of a stream as float32, where float16 comes by its bits. */
export function widened(data: Float32Array | Uint16Array): Float32Array {
	return data instanceof Float32Array ? data : toFloat32(asBytes(data), "f16");
}

/** Whole numbers from 0 to 2^32 − 1, e.g. token ids; `name` is the array's, for messages. */
export function toUint32(bytes: Uint8Array, dtype: Dtype, name: string): Uint32Array {
	if (dtype.startsWith("f") || dtype.startsWith("b")) {
		throw new SaeError(`${name}: holds ${dtype}, but whole numbers are needed`);
	}
	const values = typedView(ARRAYS[dtype as keyof typeof ARRAYS], bytes);
	const out = new Uint32Array(values.length);
	for (let i = 0; i < values.length; i++) {
		const value = Number(values[i]);
		if (value < 0 || value > 0xffffffff) {
			throw new SaeError(`${name}: value ${i} is ${value}; values from 0 to 4294967295 are needed`);
		}
		out[i] = value;
	}
	return out;
}

/** The bytes of float32 values stored as another float type, rounded to the nearest, ties to even. */
export function fromFloat32(data: Float32Array, dtype: "f32" | "f16" | "bf16" | "f64"): Uint8Array {
	switch (dtype) {
		case "f32":
			return asBytes(data);
		case "f64":
			return asBytes(new Float64Array(data));
		case "f16":
			return asBytes(new Float16Array(data));
		case "bf16":
			return asBytes(toBfloat16(data));
	}
}

/** The bytes that a typed array lies over. */
export function asBytes(data: ArrayBufferView): Uint8Array {
	return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

type Values = ArrayLike<number> | BigInt64Array | BigUint64Array;

const ARRAYS: Record<Exclude<Dtype, "bool" | "bf16" | "f32">, ArrayType<Values>> = {
	u8: Uint8Array,
	i8: Int8Array,
	u16: Uint16Array,
	i16: Int16Array,
	// Browsers from before 2025 lack it; named so, it is only missed where float16 is read.
	f16: globalThis.Float16Array,
	u32: Uint32Array,
	i32: Int32Array,
	u64: BigUint64Array,
	i64: BigInt64Array,
	f64: Float64Array,
};

function toFloats(values: Values): Float32Array {
	if (values instanceof BigInt64Array || values instanceof BigUint64Array) {
		return Float32Array.from({ length: values.length }, (_, i) => Number(values[i]));
	}
	return new Float32Array(values);
}

/** A bfloat16 is the upper half of a float32. */
function fromBfloat16(bits: Uint16Array): Float32Array {
	const words = new Uint32Array(bits.length);
	for (let i = 0; i < bits.length; i++) words[i] = bits[i]! << 16;
	return new Float32Array(words.buffer);
}

function toBfloat16(data: Float32Array): Uint16Array {
	const words = new Uint32Array(data.buffer, data.byteOffset, data.length);
	const bits = new Uint16Array(data.length);
	for (let i = 0; i < data.length; i++) {
		const word = words[i]!;
		const notANumber = (word & 0x7fffffff) > 0x7f800000;
		// Rounding could carry a NaN's mantissa away; setting its top bit keeps it one.
		bits[i] = notANumber ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
	}
	return bits;
}

interface ArrayType<T> {
	new (buffer: ArrayBufferLike, offset: number, length: number): T;
	readonly BYTES_PER_ELEMENT: number;
}

/** A typed array over `bytes`, copied only where they are not aligned. */
export function typedView<T>(Type: ArrayType<T>, bytes: Uint8Array): T {
	const source = bytes.byteOffset % Type.BYTES_PER_ELEMENT === 0 ? bytes : bytes.slice();
	return new Type(source.buffer, source.byteOffset, Math.floor(bytes.byteLength / Type.BYTES_PER_ELEMENT));
}

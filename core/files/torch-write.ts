/**
 * Writes a dictionary of tensors as `torch.save` does, in the part of the pickle language that `torch.load` takes with
 * `weights_only=True`. Format: pytorch, torch/serialization.py and torch/_weights_only_unpickler.py.
 */
import { asBytes, type Dtype } from "./dtype.ts";
import { elementCount } from "./tensor-file.ts";
import { type MemberToWrite, writeZip } from "./zip-write.ts";

export interface TorchTensorToWrite {
	readonly name: string;
	readonly dtype: "f64" | "f32" | "f16" | "bf16" | "i64" | "i32";
	/** Row-major; [] for a single number. */
	readonly shape: readonly number[];
	readonly data: ArrayBufferView;
}

const STORAGES: Readonly<Record<TorchTensorToWrite["dtype"] & Dtype, string>> = {
	f64: "DoubleStorage",
	f32: "FloatStorage",
	f16: "HalfStorage",
	bf16: "BFloat16Storage",
	i64: "LongStorage",
	i32: "IntStorage",
};
const ARCHIVE = "archive";
/** What PyTorch aligns storages to. */
const ALIGN = 64;

/** Writes an OrderedDict of tensors, which appears at `path` only when it is complete. */
export async function writeTorch(path: string, tensors: readonly TorchTensorToWrite[]): Promise<void> {
	const text = (name: string, content: string): MemberToWrite => ({
		name: `${ARCHIVE}/${name}`,
		data: Buffer.from(content),
	});
	await writeZip(
		path,
		[
			{ name: `${ARCHIVE}/data.pkl`, data: pickleOf(tensors) },
			text("byteorder", "little"),
			...tensors.map(({ data }, i) => ({ name: `${ARCHIVE}/data/${i}`, data: asBytes(data) })),
			text("version", "3\n"),
		],
		ALIGN,
	);
}

/** Opcodes by their names in pickletools, of protocol 2. */
const PROTO_2 = [0x80, 2];
const [MARK, TUPLE, EMPTY_TUPLE, REDUCE, SETITEMS, STOP, BINPERSID, NEWFALSE] = [
	"(",
	"t",
	")",
	"R",
	"u",
	".",
	"Q",
	"\x89",
].map((opcode) => opcode.charCodeAt(0)) as [number, number, number, number, number, number, number, number];

function pickleOf(tensors: readonly TorchTensorToWrite[]): Uint8Array {
	const dictionary = [...named("collections", "OrderedDict"), EMPTY_TUPLE, REDUCE];
	const items = tensors.flatMap(({ name, dtype, shape }, key) => {
		const id = [
			MARK,
			...text("storage"),
			...named("torch", STORAGES[dtype]),
			...text(String(key)),
			...text("cpu"),
			...integer(elementCount(shape)),
			TUPLE,
			BINPERSID,
		];
		const stride = shape.map((_, axis) => elementCount(shape.slice(axis + 1)));
		return [
			...text(name),
			...named("torch._utils", "_rebuild_tensor_v2"),
			MARK,
			...id,
			...integer(0),
			...tuple(shape),
			...tuple(stride),
			NEWFALSE,
			...dictionary,
			TUPLE,
			REDUCE,
		];
	});
	return Uint8Array.from([...PROTO_2, ...dictionary, MARK, ...items, SETITEMS, STOP]);
}

function named(module: string, name: string): number[] {
	return [..."c".concat(module, "\n", name, "\n")].map((letter) => letter.charCodeAt(0));
}

function text(value: string): number[] {
	const bytes = Buffer.from(value);
	return ["X".charCodeAt(0), ...word(bytes.length), ...bytes];
}

/** BININT up to 2^31, LONG1 beyond. */
function integer(value: number): number[] {
	if (value < 2 ** 31) return ["J".charCodeAt(0), ...word(value)];
	const bytes = new Uint8Array(8);
	new DataView(bytes.buffer).setBigInt64(0, BigInt(value), true);
	return [0x8a, bytes.length, ...bytes];
}

function tuple(values: readonly number[]): number[] {
	return [MARK, ...values.flatMap(integer), TUPLE];
}

function word(value: number): number[] {
	return [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
}

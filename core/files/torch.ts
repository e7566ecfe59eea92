/**
 * Reads what `torch.save` writes: a ZIP archive with a pickle, `data.pkl`, and one member `data/KEY` for each
 * storage that its tensors lie in. Format: pytorch, torch/serialization.py and torch/_utils.py.
 */
import { basename } from "node:path";
import { SaeError } from "../errors.ts";
import { type Bytes, readFully } from "./bytes.ts";
import { DTYPE_BYTES, type Dtype } from "./dtype.ts";
import { Callable, type Pickled, readPickle } from "./pickle.ts";
import { elementCount, namedTensor, type TensorFile, type TensorInfo } from "./tensor-file.ts";
import type { ZipMember } from "./zip.ts";

/** A file of `torch.save`. Its arrays are called by the keys that lead to them, joined by dots. */
export interface TorchFile extends TensorFile {
	readonly format: "torch";
	/** What was saved: Maps, arrays, numbers, text, and {@link TorchTensor}s. */
	readonly root: Pickled;
}

/** A view of a storage, not yet read. */
export class TorchTensor {
	readonly dtype: Dtype;
	readonly shape: readonly number[];
	/** Elements from one entry to the next, of each dimension. */
	readonly stride: readonly number[];
	readonly offset: number;
	readonly storage: string;

	constructor(
		dtype: Dtype,
		shape: readonly number[],
		stride: readonly number[],
		offset: number,
		storage: string,
	) {
		this.dtype = dtype;
		this.shape = shape;
		this.stride = stride;
		this.offset = offset;
		this.storage = storage;
	}
}

class Storage {
	readonly key: string;
	readonly dtype: Dtype;
	/** In elements of the dtype. */
	readonly length: number;

	constructor(key: string, dtype: Dtype, length: number) {
		this.key = key;
		this.dtype = dtype;
		this.length = length;
	}
}

const PICKLE = "data.pkl";
const MAX_PICKLE_BYTES = 16 * 2 ** 20;
const MAX_DIMENSIONS = 64;
/** A pickle may name one object any number of times, or inside itself. */
const MAX_DEPTH = 32;
const MAX_VALUES = 1_000_000;
/** Characters in the keys that lead to a value. */
const MAX_NAME = 256;

/** PyTorch's names of the types, of storages without "Storage" and of dtypes. */
const STORAGES: Readonly<Record<string, Dtype>> = {
	Double: "f64",
	Float: "f32",
	Half: "f16",
	BFloat16: "bf16",
	Long: "i64",
	Int: "i32",
	Short: "i16",
	Char: "i8",
	Byte: "u8",
	Bool: "bool",
};
const DTYPES: Readonly<Record<string, Dtype>> = {
	float64: "f64",
	float32: "f32",
	float16: "f16",
	bfloat16: "bf16",
	int64: "i64",
	int32: "i32",
	int16: "i16",
	int8: "i8",
	uint8: "u8",
	uint16: "u16",
	uint32: "u32",
	uint64: "u64",
	bool: "bool",
};

/** Whether an archive is one of `torch.save`. */
export function isTorchArchive(members: readonly ZipMember[]): boolean {
	return members.some(({ name }) => basename(name) === PICKLE);
}

/** Opens an archive whose members are known; closing the file closes `bytes`. */
export async function openTorchArchive(bytes: Bytes, members: readonly ZipMember[]): Promise<TorchFile> {
	const path = bytes.name;
	const pickle = members.find(({ name }) => basename(name) === PICKLE)!;
	const folder = pickle.name.slice(0, -PICKLE.length);
	const byName = new Map(members.map((member) => [member.name, member]));
	await checkByteOrder(path, byName.get(`${folder}byteorder`));
	if (pickle.size > MAX_PICKLE_BYTES) throw new SaeError(`${path}: its ${PICKLE} is too large to be one`);
	const pickled = await pickle.open();
	const root = readPickle(await readFully(pickled, 0, pickle.size), {
		name: path,
		globals: GLOBALS,
		persistent: storageOf(path),
	});
	const found = tensorsOf(path, root);
	const opened = new Map<string, Promise<Bytes>>();
	const storage = (tensor: TorchTensor) => {
		const name = `${folder}data/${tensor.storage}`;
		const member = byName.get(name);
		if (!member) throw new SaeError(`${path}: its storage ${name} is missing; it is cut off or damaged`);
		if (!opened.has(name)) opened.set(name, member.open());
		return opened.get(name)!;
	};
	const file: TorchFile = {
		path,
		format: "torch",
		root,
		tensors: new Map(
			[...found].map(([name, { dtype, shape }]): [string, TensorInfo] => [name, { name, dtype, shape }]),
		),
		metadata: {},
		async readElements(name, start, count) {
			const tensor = found.get(namedTensor(file, name).name)!;
			return readView(await storage(tensor), tensor, start, count);
		},
		close: () => bytes.close(),
	};
	return file;
}

async function checkByteOrder(path: string, member: ZipMember | undefined): Promise<void> {
	if (!member) return;
	const order = new TextDecoder().decode(await (await member.open()).readAt(0, 16));
	if (order !== "little") {
		throw new SaeError(`${path}: was saved in the byte order "${order}"; save it on a little-endian machine`);
	}
}

/** `count` elements from element `start` of a tensor, in its own order, wherever they lie in its storage. */
async function readView(
	storage: Bytes,
	{ dtype, shape, stride, offset }: TorchTensor,
	start: number,
	count: number,
): Promise<Uint8Array> {
	const size = DTYPE_BYTES[dtype];
	if (isContiguous(shape, stride)) return readFully(storage, (offset + start) * size, count * size);
	const last = shape.reduce((at, length, axis) => at + Math.max(0, length - 1) * stride[axis]!, 0);
	const span = await readFully(storage, offset * size, (count === 0 ? 0 : last + 1) * size);
	const out = new Uint8Array(count * size);
	const place = shape.map(() => 0);
	let rest = start;
	for (let axis = shape.length - 1; axis >= 0; axis--) {
		place[axis] = rest % shape[axis]!;
		rest = Math.floor(rest / shape[axis]!);
	}
	let from = place.reduce((at, index, axis) => at + index * stride[axis]!, 0);
	for (let i = 0; i < count; i++) {
		for (let byte = 0; byte < size; byte++) out[i * size + byte] = span[from * size + byte]!;
		for (let axis = shape.length - 1; axis >= 0; axis--) {
			from += stride[axis]!;
			if (++place[axis]! < shape[axis]!) break;
			from -= stride[axis]! * shape[axis]!;
			place[axis] = 0;
		}
	}
	return out;
}

function isContiguous(shape: readonly number[], stride: readonly number[]): boolean {
	let expected = 1;
	for (let axis = shape.length - 1; axis >= 0; axis--) {
		if (shape[axis] !== 1 && stride[axis] !== expected) return false;
		expected *= shape[axis]!;
	}
	return true;
}

function tensorsOf(path: string, root: Pickled): Map<string, TorchTensor> {
	const found = new Map<string, TorchTensor>();
	let left = MAX_VALUES;
	const visit = (value: Pickled, name: string, depth: number) => {
		if (--left < 0 || depth > MAX_DEPTH || name.length > MAX_NAME) {
			throw new SaeError(`${path}: nests or repeats its values more than a file of weights does`);
		}
		const below = (key: string, item: Pickled) =>
			visit(item, name === "" ? key : `${name}.${key}`, depth + 1);
		if (value instanceof TorchTensor) found.set(name || basename(path).replace(/\.pt$/, ""), value);
		else if (value instanceof Map) for (const [key, item] of value) below(nameOf(path, key), item);
		else if (Array.isArray(value)) for (const [i, item] of value.entries()) below(String(i), item);
	};
	visit(root, "", 0);
	return found;
}

/** What a key is called. Lists as keys are left out: a few of them, each in the next, are text without end. */
function nameOf(path: string, key: Pickled): string {
	if (key !== null && typeof key === "object") {
		throw new SaeError(`${path}: has a key that is neither text nor a number`);
	}
	return String(key);
}

/** ("storage", type, key, device, length) */
function storageOf(path: string) {
	return (id: Pickled): Storage => {
		const [kind, dtype, key, , length] = Array.isArray(id) ? id : [];
		const type = dtype instanceof Type ? dtype.dtype : undefined;
		if (kind !== "storage" || !type || typeof key !== "string" || !isSize(length)) {
			throw new SaeError(`${path}: names something outside it that is no storage of a tensor`);
		}
		return new Storage(key, type, length);
	};
}

/** A dtype, or the type of a storage of that dtype. */
class Type {
	readonly dtype: Dtype;

	constructor(dtype: Dtype) {
		this.dtype = dtype;
	}
}

function rebuildTensor(args: readonly Pickled[], asked?: Pickled): TorchTensor {
	const [storage, offset, shape, stride] = args;
	if (!(storage instanceof Storage)) throw new SaeError("a tensor lies in something that is no storage");
	const dtype = asked instanceof Type ? asked.dtype : storage.dtype;
	if (!isSize(offset) || !isSizes(shape) || !isSizes(stride) || shape.length !== stride.length) {
		throw new SaeError("a tensor has sizes that are none");
	}
	const count = elementCount(shape);
	const last = shape.reduce((at, length, axis) => at + Math.max(0, length - 1) * stride[axis]!, offset);
	const length = Math.floor((storage.length * DTYPE_BYTES[storage.dtype]) / DTYPE_BYTES[dtype]);
	if (count > 0 && last >= length) {
		throw new SaeError(
			`a tensor of shape [${shape.join(", ")}] reaches beyond its storage of ${length} values`,
		);
	}
	// A stride of 0 repeats values: a few bytes could stand for more than any memory holds.
	if (count > length) {
		throw new SaeError(
			`a tensor of shape [${shape.join(", ")}] repeats its ${length} values; save a clone() of it`,
		);
	}
	return new TorchTensor(dtype, shape, stride, offset, storage.key);
}

function isSize(value: unknown): value is number {
	return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isSizes(value: unknown): value is number[] {
	return Array.isArray(value) && value.length <= MAX_DIMENSIONS && value.every(isSize);
}

/** Its items are set afterwards; one made of a list of them, again and again, would fill any memory. */
function orderedDictionary(args: readonly Pickled[]): Map<Pickled, Pickled> {
	if (args.length > 0) throw new SaeError("an OrderedDict is made of more than nothing; torch.save it again");
	return new Map();
}

/** Everything that a file of tensors may name. */
const GLOBALS: ReadonlyMap<string, Pickled> = new Map<string, Pickled>([
	["collections OrderedDict", new Callable(orderedDictionary)],
	["torch._utils _rebuild_tensor", new Callable((args) => rebuildTensor(args))],
	["torch._utils _rebuild_tensor_v2", new Callable((args) => rebuildTensor(args))],
	// (storage, offset, size, stride, requires_grad, hooks, dtype)
	["torch._utils _rebuild_tensor_v3", new Callable((args) => rebuildTensor(args, args[6]))],
	["torch._utils _rebuild_parameter", new Callable(([data]) => data)],
	["torch Size", new Callable(([sizes]) => sizes)],
	// Where it was, which nothing asks for.
	["torch device", new Callable(() => null)],
	["torch.storage UntypedStorage", new Type("u8")],
	...Object.entries(STORAGES).map(([name, dtype]): [string, Pickled] => [
		`torch ${name}Storage`,
		new Type(dtype),
	]),
	...Object.entries(DTYPES).map(([name, dtype]): [string, Pickled] => [`torch ${name}`, new Type(dtype)]),
]);

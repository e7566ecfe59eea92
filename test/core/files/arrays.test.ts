import { afterAll, describe, expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Dtype, fromFloat32, toFloat32, toUint32 } from "../../../core/files/dtype.ts";
import { openTensorFile } from "../../../core/files/open.ts";
import { openSafetensors, readFloat32, writeSafetensors } from "../../../core/files/safetensors.ts";
import { rowTensor } from "../../../core/files/tensor-file.ts";

const folder = await mkdtemp(join(tmpdir(), "sae-files-"));
afterAll(() => rm(folder, { recursive: true }));

const fixture = (name: string) => join(import.meta.dir, "../../fixtures/arrays", name);
const quarters = Array.from({ length: 24 }, (_, i) => i / 4);

interface Rows {
	readonly format: string;
	readonly rows: number;
	readonly width: number;
	readonly type: string;
	readonly values: number[];
}

/** All rows as numbers, read in pieces of four rows. */
async function rowsOf(path: string, name?: string): Promise<Rows> {
	const file = await openTensorFile(path);
	const tensor = rowTensor(file, name);
	const values: number[] = [];
	let type = "";
	for (let row = 0; row < tensor.rows; row += 4) {
		const part = await tensor.readRows(row, Math.min(4, tensor.rows - row));
		type = part.type;
		values.push(
			...(part.data instanceof Uint16Array ? new Float16Array(part.data.slice().buffer) : part.data),
		);
	}
	await file.close();
	return { format: file.format, rows: tensor.rows, width: tensor.width, type, values };
}

describe("numpy's files", () => {
	const matrix = { format: "npy", rows: 6, width: 4, type: "float32" };
	test.each([
		["f2.npy", { ...matrix, type: "float16" }],
		["f4.npy", matrix],
		["f8.npy", matrix],
		["big-f4.npy", matrix],
		["version-2-f4.npy", matrix],
		["version-3-f4.npy", matrix],
		["three-dimensions-f4.npy", matrix],
		["one-dimension-f4.npy", { ...matrix, rows: 24, width: 1 }],
		["stored.npz", { ...matrix, format: "npz", type: "float16" }],
		["deflated.npz", { ...matrix, format: "npz", type: "float16" }],
		["floats-idx2", { ...matrix, format: "idx" }],
	])("%s", async (name, expected) => {
		const name_ = name.endsWith("npz") ? "activations" : undefined;
		expect(await rowsOf(fixture(name), name_)).toEqual({ ...expected, values: quarters });
	});

	test.each(["i2.npy", "u1.npy", "i8.npy"])("%s becomes float32", async (name) => {
		expect((await rowsOf(fixture(name))).values).toEqual(quarters.map((value) => value * 4));
	});

	test("gzipped IDX images are rows of pixels", async () => {
		const images = await rowsOf(fixture("images-idx3.gz"));
		expect(images).toEqual({
			format: "idx",
			rows: 3,
			width: 20,
			type: "float32",
			values: Array.from({ length: 60 }, (_, i) => i),
		});
	});

	test("deflated rows can be read backwards", async () => {
		const file = await openTensorFile(fixture("deflated.npz"));
		const ids = rowTensor(file, "input_ids");
		expect([...(await ids.readIntegers(4, 2))]).toEqual([28, 35]);
		expect([...(await ids.readIntegers(0, 2))]).toEqual([0, 7]);
		await file.close();
	});

	test("arrays that can't be read are listed, and refused by name", async () => {
		const file = await openTensorFile(fixture("stored.npz"));
		expect([...file.tensors.keys()]).toEqual(["activations", "input_ids", "label"]);
		expect(() => rowTensor(file, "label")).toThrow("label is of type <U1, which can't be read");
		expect(() => rowTensor(file, "tokens")).toThrow("no array tokens; it has: activations f16[6, 4]");
		await file.close();
	});

	test.each([
		["fortran-f4.npy", "column-major (save ascontiguousarray(x))"],
		["objects.npy", "is of type |O, which can't be read"],
		["structured.npy", "is of type [('a', '<f4'), ('b', '<i4')], which can't be read"],
	])("%s is refused", async (name, message) => {
		await expect(rowsOf(fixture(name))).rejects.toThrow(message);
	});
});

describe("safetensors", () => {
	const path = join(folder, "a.safetensors");
	const data = Float32Array.from(quarters);

	test("come back as they were written, with metadata", async () => {
		await writeSafetensors(
			path,
			[
				{ name: "ids", dtype: "i64", shape: [2], data: BigInt64Array.of(3n, 2n ** 40n) },
				{ name: "half", dtype: "f16", shape: [6, 4], data: fromFloat32(data, "f16") },
				{ name: "pieces", dtype: "f32", shape: [4], data: [new Uint8Array(6), new Uint8Array(10)] },
				{ name: "scalar", dtype: "f64", shape: [], data: Float64Array.of(0.1) },
				{ name: "empty", dtype: "f32", shape: [0, 3], data: new Float32Array(0) },
			],
			{ format: "pt", command: 'sae "x"' },
		);
		const file = await openSafetensors(path);
		expect(file.metadata).toEqual({ format: "pt", command: 'sae "x"' });
		expect([...(await readFloat32(file, "half"))]).toEqual(quarters);
		expect([...(await readFloat32(file, "scalar"))]).toEqual([Math.fround(0.1)]);
		expect([...(await readFloat32(file, "ids"))]).toEqual([3, 2 ** 40]);
		expect((await readFloat32(file, "empty")).length).toBe(0);
		expect(file.tensors.get("empty")!.shape).toEqual([0, 3]);
		await file.close();
	});

	test("the header is as the reference writes it: padded to 8 bytes, wide types first", async () => {
		const bytes = new Uint8Array(await Bun.file(path).arrayBuffer());
		const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
		expect(length % 8).toBe(0);
		const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
		expect(Object.keys(header)).toEqual(["__metadata__", "ids", "scalar", "empty", "pieces", "half"]);
		expect(header.half).toEqual({ dtype: "F16", shape: [6, 4], data_offsets: [40, 88] });
	});

	test("too few bytes leave no file", async () => {
		const short = { name: "x", dtype: "f32", shape: [3], data: new Float32Array(2) } as const;
		await expect(writeSafetensors(join(folder, "short"), [short])).rejects.toThrow("8 bytes were given");
		expect((await readdir(folder)).filter((name) => name.startsWith("short"))).toEqual([]);
	});

	test("shards are one file", async () => {
		const x = { name: "x", dtype: "f32", shape: [6, 4], data } as const;
		await writeSafetensors(join(folder, "s-1"), [x]);
		await writeSafetensors(join(folder, "s-2"), [
			{ ...x, name: "y", dtype: "bf16", data: fromFloat32(data, "bf16") },
		]);
		const index = join(folder, "model.safetensors.index.json");
		await Bun.write(index, JSON.stringify({ metadata: {}, weight_map: { x: "s-1", y: "s-2" } }));
		expect((await rowsOf(index, "y")).values).toEqual(quarters);
		await Bun.write(index, JSON.stringify({ weight_map: { x: "../s-1" } }));
		await expect(openTensorFile(index)).rejects.toThrow('names the file "../s-1", outside its folder');
		await Bun.write(index, JSON.stringify({ weight_map: { z: "s-1" } }));
		await expect(openTensorFile(index)).rejects.toThrow("has no array z");
	});

	test("types that we don't know don't hide the others", async () => {
		const header = JSON.stringify({
			q: { dtype: "F8_E4M3", shape: [4], data_offsets: [0, 4] },
			x: { dtype: "F32", shape: [1], data_offsets: [4, 8] },
		});
		const bytes = safetensors(header, new Uint8Array(8));
		await Bun.write(path, bytes);
		const file = await openSafetensors(path);
		expect([...(await readFloat32(file, "x"))]).toEqual([0]);
		await expect(readFloat32(file, "q")).rejects.toThrow("q is of type f8_e4m3, which can't be read");
		await file.close();
	});

	const entry = (begin: number, end: number, more = {}) => ({
		dtype: "F32",
		shape: [(end - begin) / 4],
		data_offsets: [begin, end],
		...more,
	});
	test.each([
		["a gap", { x: entry(0, 4), y: entry(8, 12) }, 12, "leaves a gap"],
		["an overlap", { x: entry(0, 8), y: entry(4, 12) }, 12, "overlaps"],
		["bytes left over", { x: entry(0, 4) }, 8, "its arrays need"],
		["bytes missing", { x: entry(0, 16) }, 8, "it is cut off"],
		["a shape of another size", { x: entry(0, 8, { shape: [3] }) }, 8, "x is f32[3] but has 8 bytes"],
		["a negative offset", { x: entry(-4, 4) }, 4, "entry for x is malformed"],
		["metadata that is not text", { __metadata__: { a: 1 }, x: entry(0, 4) }, 4, "may hold only text"],
		["a list", [], 0, "not a JSON object"],
	])("%s is refused", async (_, header, bytes, message) => {
		await Bun.write(path, safetensors(JSON.stringify(header), new Uint8Array(bytes)));
		await expect(openSafetensors(path)).rejects.toThrow(message);
	});
});

function safetensors(header: string, data: Uint8Array): Uint8Array {
	const bytes = new Uint8Array(8 + header.length + data.length);
	new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
	bytes.set(new TextEncoder().encode(header), 8);
	return bytes;
}

describe("element types", () => {
	test.each(["f32", "f16", "bf16", "f64"] as const)("%s is rounded to nearest, ties to even", (dtype) => {
		// 1 + 2^-8 and 1 + 3·2^-8 lie halfway between bfloat16 numbers; 1 + 2^-11 and 1 + 3·2^-11 for float16.
		const halfway = { f32: 0, f64: 0, bf16: 2 ** -8, f16: 2 ** -11 }[dtype];
		const values = Float32Array.of(
			0.5,
			-2,
			1 + halfway,
			1 + 3 * halfway,
			Number.NaN,
			Number.POSITIVE_INFINITY,
		);
		const step = 2 * halfway;
		expect([...toFloat32(fromFloat32(values, dtype), dtype)]).toEqual([
			0.5,
			-2,
			1,
			1 + 2 * step,
			Number.NaN,
			Number.POSITIVE_INFINITY,
		]);
	});

	test("ids must be whole and fit", () => {
		const bytes = (data: ArrayBufferView) => new Uint8Array(data.buffer);
		expect([...toUint32(bytes(BigInt64Array.of(5n, 2n ** 32n - 1n)), "i64", "t")]).toEqual([5, 2 ** 32 - 1]);
		expect(() => toUint32(bytes(Int32Array.of(1, -1)), "i32", "t")).toThrow("t: value 1 is -1");
		for (const dtype of ["f32", "f16", "bf16", "bool"] satisfies Dtype[]) {
			expect(() => toUint32(new Uint8Array(8), dtype, "t")).toThrow("whole numbers are needed");
		}
	});
});

/** Files of torch.save, written by PyTorch 2.11, by CPython's pickler, and by hand to do harm. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { zipSync } from "fflate";
import { openFile } from "../../../core/files/bytes.ts";
import { isTorch, openTensorFile, openTorch } from "../../../core/files/open.ts";
import { readFloat32 } from "../../../core/files/safetensors.ts";
import { writeTorch } from "../../../core/files/torch-write.ts";
import { readZip } from "../../../core/files/zip.ts";
import { writeZip } from "../../../core/files/zip-write.ts";
import { type Gpu, openGpu } from "../../../core/gpu/device.ts";
import { loadSae } from "../../../core/load.ts";
import { openSae } from "../../../core/open-sae.ts";

const FIXTURES = join(import.meta.dir, "../../fixtures/torch");

let folder: string;
let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
	folder = await mkdtemp(join(tmpdir(), "sae-torch-"));
});
afterAll(async () => {
	gpu.close();
	await rm(folder, { recursive: true });
});

describe("SAEs that PyTorch saved", () => {
	const run = async (
		path: string,
		key: "codes" | "openai_codes",
		outputs: "y" | "openai_y",
		precision: number,
	) => {
		const expected = await Bun.file(join(FIXTURES, "expected.json")).json();
		const runtime = await openSae(await loadSae(path), { gpu });
		const rows = Float32Array.from(expected.x.flat());
		const codes = await runtime.encode(rows, expected.x.length);
		const y = await runtime.decode(codes, rows);
		runtime.close();
		const dense = new Float64Array(expected[key].flat().length);
		for (let row = 0; row < codes.rows; row++) {
			for (let entry = codes.offsets[row]!; entry < codes.offsets[row + 1]!; entry++) {
				dense[row * 12 + codes.index[entry]!] = codes.value[entry]!;
			}
		}
		const near = (actual: ArrayLike<number>, wanted: number[]) => {
			expect(actual.length).toBe(wanted.length);
			for (const [i, value] of wanted.entries()) expect(Math.abs(actual[i]! - value)).toBeLessThan(precision);
		};
		near(dense, expected[key].flat());
		near(y, expected[outputs].flat());
	};

	test.each([
		["ae.pt", 1e-5],
		["bfloat16.pt", 0.05],
	])("%s, a state dict", async (file, precision) => {
		const path = join(folder, `${file} in a folder`);
		await mkdir(path);
		await cp(join(FIXTURES, file), join(path, "ae.pt"));
		await expect(loadSae(path)).rejects.toThrow("may be of AutoEncoderTopK or of BatchTopKSAE");
		await writeFile(join(path, "config.json"), '{"trainer": {"dict_class": "AutoEncoderTopK"}}');
		await run(path, "codes", "y", precision);
	});

	test("checkpoint.pt, in the middle of a run, with its optimiser", () =>
		run(join(FIXTURES, "checkpoint.pt"), "codes", "y", 1e-5));

	test("openai.pt, with parameters, a transposed decoder and values that are no tensors", () =>
		run(join(FIXTURES, "openai.pt"), "openai_codes", "openai_y", 1e-5));

	test.each([
		["legacy.pt", "is of PyTorch before version 1.6; load it there, and torch.save it again"],
		["module.pt", "asks for torch.nn.modules.linear.Linear, which is never done for a file"],
	])("%s is refused", async (file, message) => {
		const path = join(FIXTURES, file);
		expect(await isTorch(path)).toBe(true);
		await expect(loadSae(path)).rejects.toThrow(`${path}: ${message}`);
	});
});

describe("tensors", () => {
	test("of every type, single numbers, transposed and sliced ones", async () => {
		const path = join(folder, "types.pt");
		const numbers = new Float32Array([1, 2, 3, 4, 5, 6]);
		await writeTorch(path, [
			{ name: "f32", dtype: "f32", shape: [2, 3], data: numbers },
			{ name: "f64", dtype: "f64", shape: [1], data: new Float64Array([0.1]) },
			{ name: "f16", dtype: "f16", shape: [2], data: new Float16Array([0.5, -2]) },
			{ name: "bf16", dtype: "bf16", shape: [1], data: new Uint16Array([0x3fc0]) },
			{ name: "i64", dtype: "i64", shape: [2], data: new BigInt64Array([-1n, 2n ** 40n]) },
			{ name: "k", dtype: "i32", shape: [], data: new Int32Array([32]) },
		]);
		const file = await openTorch(path);
		const values = async (name: string) => [...(await readFloat32(file, name))];
		expect([...file.tensors.values()].map(({ name, dtype, shape }) => [name, dtype, shape])).toEqual([
			["f32", "f32", [2, 3]],
			["f64", "f64", [1]],
			["f16", "f16", [2]],
			["bf16", "bf16", [1]],
			["i64", "i64", [2]],
			["k", "i32", []],
		]);
		expect(await values("f32")).toEqual([1, 2, 3, 4, 5, 6]);
		expect(await values("f64")).toEqual([Math.fround(0.1)]);
		expect(await values("f16")).toEqual([0.5, -2]);
		expect(await values("bf16")).toEqual([1.5]);
		expect(await values("i64")).toEqual([-1, 2 ** 40]);
		expect(await values("k")).toEqual([32]);
		expect([...(await file.readElements("f32", 4, 2))]).toEqual([...new Uint8Array(numbers.buffer, 16, 8)]);
		await file.close();
	});

	test("views are read in their own order, from anywhere", async () => {
		const path = join(folder, "views.pt");
		await writePt(path, `${tensor([3, 2], [1, 3], 0)}s`, [0, 1, 2, 3, 4, 5]);
		const file = await openTensorFile(path);
		expect([...(await readFloat32(file, "w"))]).toEqual([0, 3, 1, 4, 2, 5]);
		const middle = await file.readElements("w", 3, 2);
		expect([...new Float32Array(middle.buffer)]).toEqual([4, 2]);
		await file.close();
		await writePt(path, `${tensor([2, 2], [3, 1], 1)}s`, [0, 1, 2, 3, 4, 5]);
		const sliced = await openTensorFile(path);
		expect([...(await readFloat32(sliced, "w"))]).toEqual([1, 2, 4, 5]);
		await sliced.close();
	});

	test("what PyTorch loads with weights_only=True is written byte for byte", async () => {
		const path = join(folder, "golden.pt");
		await writeTorch(path, [{ name: "b", dtype: "f32", shape: [2], data: new Float32Array([1, 2]) }]);
		const bytes = await openFile(path);
		const members = await readZip(bytes);
		expect(members.map(({ name, size }) => [name, size])).toEqual([
			["archive/data.pkl", 175],
			["archive/byteorder", 6],
			["archive/data/0", 8],
			["archive/version", 2],
		]);
		const pickle = await members[0]!.open();
		expect(String.fromCharCode(...(await pickle.readAt(0, 175)))).toBe(
			`\x80\x02${ORDERED_DICT}(X\x01\0\0\0bctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0` +
				`0X\x03\0\0\0cpuJ\x02\0\0\0tQJ\0\0\0\0(J\x02\0\0\0t(J\x01\0\0\0t\x89${ORDERED_DICT}tRu.`,
		);
		await bytes.close();
	});
});

const ORDERED_DICT = "ccollections\nOrderedDict\n)R";
const int = (value: number) => `J${String.fromCharCode(...new Uint8Array(new Int32Array([value]).buffer))}`;
const text = (value: string) => `X${int(value.length).slice(1)}${value}`;
const tuple = (values: readonly number[]) => `(${values.map(int).join("")}t`;

/** Remembers as 0 a list of eight lists, each of eight lists, and so on: few bytes, and text without end. */
const LISTS = `K\x01q\x000${"(h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00tq\x000".repeat(60)}`;

/** A key and a tensor over the storage "0". */
function tensor(shape: readonly number[], stride: readonly number[], offset: number, length = 6): string {
	const storage = `(${text("storage")}ctorch\nFloatStorage\n${text("0")}${text("cpu")}${int(length)}tQ`;
	return `${text("w")}ctorch._utils\n_rebuild_tensor_v2\n(${storage}${int(offset)}${tuple(shape)}${tuple(stride)}\x89${ORDERED_DICT}tR`;
}

/** A file whose pickle is a dictionary and what follows. */
async function writePt(path: string, items: string, data: readonly number[]): Promise<void> {
	await writeZip(path, [
		{ name: "x/data.pkl", data: Uint8Array.from(`\x80\x02}${items}.`, (letter) => letter.charCodeAt(0)) },
		{ name: "x/data/0", data: new Uint8Array(new Float32Array(data).buffer) },
	]);
}

describe("hostile and damaged files", () => {
	const data = [0, 1, 2, 3, 4, 5];
	test.each([
		["os.system", "cposix\nsystem\nX\x02\0\0\0id\x85RX\x01\0\0\0as", "asks for posix.system"],
		["eval", "cbuiltins\neval\nX\x01\0\0\x001\x85RX\x01\0\0\0as", "asks for builtins.eval"],
		["a tensor beyond its storage", `${tensor([7], [1], 0)}s`, "reaches beyond its storage of 6 values"],
		["an offset beyond it", `${tensor([2], [1], 5)}s`, "reaches beyond its storage"],
		[
			"a huge tensor",
			`${tensor([2 ** 30, 2 ** 30], [2 ** 30, 1], 0, 2 ** 30)}s`,
			"reaches beyond its storage",
		],
		["values repeated without end", `${tensor([2 ** 30, 2 ** 30], [0, 0], 0)}s`, "repeats its 6 values"],
		["negative strides", `${tensor([2], [-1], 3)}s`, "has sizes that are none"],
		["strides for other dimensions", `${tensor([2, 3], [1], 0)}s`, "has sizes that are none"],
		[
			"lists of lists of lists, each twice",
			`${text("a")}K\x01${"2\x86".repeat(24)}s`,
			"nests or repeats its values",
		],
		["a key of lists of lists", `${LISTS}h\x00K\x01s`, "has a key that is neither text nor a number"],
		[
			"names without end",
			`${text("a".repeat(300))}${tensor([6], [1], 0).slice(6)}s`,
			"nests or repeats its values",
		],
		[
			"dictionaries made of lists",
			`${text("a")}ccollections\nOrderedDict\n(]tRs`,
			"an OrderedDict is made of more than nothing",
		],
		["a list that is in itself", `${text("a")}]q\x01h\x01as`, "nests or repeats its values"],
	])("%s", async (name, items, message) => {
		const path = join(folder, `${name}.pt`);
		await writePt(path, items, data);
		await expect(openTorch(path)).rejects.toThrow(`${path}: `);
		await expect(openTorch(path)).rejects.toThrow(message);
		// Every command says so, for it is taken for a file of PyTorch all the same.
		await expect(loadSae(path)).rejects.toThrow(message);
	});

	test.each([
		["a storage of other bytes", `${tensor([100], [1], 0, 100)}s`, "is cut off"],
		[
			"a storage that is missing",
			`${tensor([6], [1], 0).replace("X\x01\0\0\x000", "X\x01\0\0\x007")}s`,
			"storage x/data/7 is missing",
		],
	])("%s, when it is read", async (name, items, message) => {
		const path = join(folder, `${name}.pt`);
		await writePt(path, items, data);
		const file = await openTorch(path);
		await expect(readFloat32(file, "w")).rejects.toThrow(message);
		await file.close();
	});

	test("a device without end", async () => {
		const path = join(folder, "device.pt");
		await writePt(path, `${LISTS}${text("a")}ctorch\ndevice\nh\x00Rs`, data);
		const file = await openTorch(path);
		expect(file.root).toEqual(new Map([["a", null]]));
		await file.close();
	});

	test("an archive whose member unpacks to what fills memory", async () => {
		const path = join(folder, "bomb.npz");
		const bytes = zipSync({ "W_enc.npy": new Uint8Array(4096) }, { level: 9 });
		const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
		// What the directory says of the size, where it is read from.
		for (let at = 0; at + 4 < bytes.length; at++) {
			if (view.getUint32(at, true) === 0x02014b50) view.setUint32(at + 24, 2 ** 31, true);
		}
		await writeFile(path, bytes);
		const [member] = await readZip(await openFile(path));
		await expect(member!.open()).rejects.toThrow("bytes that unpack to 2147483648, as no weights do");
	});

	test("another byte order", async () => {
		const path = join(folder, "big.pt");
		await writeZip(path, [
			{ name: "x/data.pkl", data: Buffer.from("}.") },
			{ name: "x/byteorder", data: Buffer.from("big") },
		]);
		await expect(openTorch(path)).rejects.toThrow('was saved in the byte order "big"');
	});
});

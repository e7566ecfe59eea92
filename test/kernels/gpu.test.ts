/** The device layer: reading back, limits, and how its failures read. */

import { dlopen, type Pointer, ptr } from "bun:ffi";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { openGpu } from "../../core/gpu/device.ts";
import { Gpu, GpuError } from "../../kernels/gpu.ts";
import { dispatch, submit } from "../../kernels/program.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

const LIMIT = 2 ** 20;
const limited = () => new Gpu({ device: gpu.device, info: gpu.info, keepAlive: [] }, LIMIT);

describe("buffers", () => {
	test("give back what was written, in parts and several at a time", async () => {
		const words = Uint32Array.from({ length: 1000 }, (_, i) => i * i);
		const buffer = gpu.buffer("test", words.byteLength);
		gpu.write(buffer, words);
		const parts = await Promise.all([0, 1, 250, 999].map((at) => gpu.read(buffer, at * 4, (1000 - at) * 4)));
		for (const [i, at] of [0, 1, 250, 999].entries())
			expect(new Uint32Array(parts[i]!)).toEqual(words.subarray(at));
		expect((await gpu.read(buffer, 0, 0)).byteLength).toBe(0);
	});

	test("a read sees what was enqueued before it, and nothing after", async () => {
		const buffer = gpu.buffer("test", 4);
		const reads = [1, 2, 3].map((value) => {
			gpu.write(buffer, new Uint32Array([value]));
			return gpu.read(buffer, 0, 4);
		});
		expect((await Promise.all(reads)).map((bytes) => new Uint32Array(bytes)[0])).toEqual([1, 2, 3]);
	});

	test("an odd number of 16-bit values is written with a zero beside it", async () => {
		const buffer = gpu.buffer("test", 8);
		gpu.writePadded(buffer, new Uint16Array([1, 2, 3]));
		expect(new Uint16Array(await gpu.read(buffer, 0, 8))).toEqual(new Uint16Array([1, 2, 3, 0]));
	});

	test("uploads come in order, each as it was when it was asked for, of any size", async () => {
		const hardware = new Gpu({ device: gpu.device, info: { ...gpu.info, software: false }, keepAlive: [] });
		const buffer = gpu.buffer("test", 400);
		const rows = new Float32Array(100);
		const reads: Promise<ArrayBuffer>[] = [];
		const expected: number[][] = [];
		for (let i = 0; i < 12; i++) {
			const some = rows.subarray(0, 10 * (1 + (i % 9))).fill(i);
			hardware.upload(buffer, some);
			reads.push(hardware.read(buffer, 0, some.byteLength));
			expected.push(Array.from(some));
			// From here on, memory comes back.
			if (i > 5) await reads.at(-1);
		}
		expect((await Promise.all(reads)).map((bytes) => Array.from(new Float32Array(bytes)))).toEqual(expected);
		hardware.upload(buffer, new Uint16Array([1, 2, 3]));
		expect(new Uint16Array(await gpu.read(buffer, 0, 8))).toEqual(new Uint16Array([1, 2, 3, 0]));
	});

	test("over the limit are refused with their name and size", () => {
		expect(() => limited().buffer("codes", LIMIT + 1)).toThrow(
			new GpuError("codes needs 1 MiB in one buffer, this device allows 1 MiB: use a smaller batch"),
		);
		expect(limited().buffer("codes", LIMIT).size).toBe(LIMIT);
	});
});

describe("kernels", () => {
	const fill = /* wgsl */ `
@group(0) @binding(0) var<storage, read_write> out: array<u32>;
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
	let at = group.y * groups.x + group.x;
	if (at < arrayLength(&out)) { out[at] = at + 1u; }
}`;

	test("run on more workgroups than one dimension holds", async () => {
		const count = 70_000;
		const out = gpu.buffer("out", count * 4);
		submit(gpu, [dispatch(gpu, "fill", fill, [out], count)]);
		const values = new Uint32Array(await gpu.read(out, 0, count * 4));
		expect(values.every((value, i) => value === i + 1)).toBe(true);
	});

	test("that are no WGSL, or bound to something else, are refused in one line", async () => {
		const compile = (code: string) => gpu.checked("a kernel", () => gpu.pipeline("broken", code));
		const wrong = compile("fn main() { this is no code }");
		await expect(wrong).rejects.toThrow(/^the GPU refused a kernel: .*expected.*$/);
		const unbound = gpu.checked("a kernel", () => dispatch(gpu, "fill", fill, [], 1));
		await expect(unbound).rejects.toBeInstanceOf(GpuError);
		gpu.check();
	});
});

describe("failures", () => {
	test("of what nobody checked come with the next read", async () => {
		const own = await openGpu();
		const buffer = own.buffer("test", 16);
		own.write(buffer, new Uint32Array(8));
		await expect(own.read(buffer, 0, 16)).rejects.toBeInstanceOf(GpuError);
		expect(() => own.check()).toThrow(GpuError);
		own.close();
	});

	// Dawn can be told to lose a device, through its C interface, whose structs by value are plain arguments here.
	test.skipIf(process.platform !== "linux" || process.arch !== "x64")(
		"a device that is lost says so",
		async () => {
			const own = await openGpu();
			const buffer = own.buffer("test", 16);
			const reading = own.read(buffer, 0, 16);
			loseDevice(own.device, "the card fell out");
			const message = /^the GPU device was lost: the card fell out.*$/;
			await expect(reading).rejects.toThrow(message);
			await expect(own.read(buffer, 0, 16)).rejects.toThrow(message);
			await expect(own.checked("a kernel", () => undefined)).rejects.toThrow(message);
			own.close();
		},
	);

	test("closing a device ends the reads that wait for it", async () => {
		const own = await openGpu();
		const reading = own.read(own.buffer("test", 2 ** 24), 0, 2 ** 24);
		own.close();
		await expect(reading).rejects.toThrow(new GpuError("the GPU device is closed"));
		expect(() => own.check()).toThrow(GpuError);
		own.close();
	});
});

function loseDevice(device: GPUDevice, why: string): void {
	const library = Bun.resolveSync("bun-webgpu-linux-x64/libwebgpu_wrapper.so", import.meta.dir);
	const { symbols, close } = dlopen(library, {
		wgpuDeviceForceLoss: { args: ["ptr", "u32", "ptr", "u64"], returns: "void" },
	});
	const UNKNOWN = 1;
	const text = Buffer.from(why);
	const { devicePtr } = device as unknown as { devicePtr: Pointer };
	symbols.wgpuDeviceForceLoss(devicePtr, UNKNOWN, ptr(text), BigInt(text.length));
	close();
}

/** The smaller kernels of the forward pass, on sizes that nothing divides. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { fromFloat32, toFloat32 } from "../../core/files/dtype.ts";
import { openGpu } from "../../core/gpu/device.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { type Activation, mapGroups, mapRows } from "../../kernels/model/map.ts";
import { NO_TARGET, tokenLosses } from "../../kernels/model/token-loss.ts";
import { unpackGroups, unpackWeights } from "../../kernels/model/unpack.ts";
import { dispatch, submit } from "../../kernels/program.ts";
import { randomStream, randomTensor } from "../reference/models.ts";
import { erf } from "../reference/transformer.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

const upload = (data: Float32Array | Uint32Array | Uint16Array) => {
	const buffer = gpu.buffer("operand", data.byteLength);
	gpu.writePadded(buffer, data);
	return buffer;
};

/** Runs one kernel, and reads the last of its arrays that `out` is. */
async function run(
	code: string,
	bindings: readonly GPUBuffer[],
	groups: number,
	out: GPUBuffer,
	length: number,
): Promise<Float32Array> {
	submit(gpu, [await gpu.checked("a kernel", () => dispatch(gpu, "kernel", code, bindings, groups))]);
	return new Float32Array(await gpu.read(out, 0, length * 4));
}

const ACTIVATIONS: Record<Activation, (x: number) => number> = {
	gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
	gelu_tanh: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
	gelu_quick: (x) => x / (1 + Math.exp(-1.702 * x)),
	silu: (x) => x / (1 + Math.exp(-x)),
	relu: (x) => Math.max(0, x),
};

test.each(Object.keys(ACTIVATIONS) as Activation[])("%s, far out too", async (activation) => {
	const inputs = Float32Array.from({ length: 412 }, (_, i) => (i - 206) / 20);
	inputs.set([300, -300, 1e4, -1e4]);
	const x = upload(inputs);
	const code = mapRows({ kind: "activate", activation });
	const found = await run(code, [gpu.constants(1), x], mapGroups(inputs.length / 4, 4), x, inputs.length);
	for (const [i, value] of inputs.entries()) {
		const wanted = ACTIVATIONS[activation](value);
		expect(Math.abs(found[i]! - wanted)).toBeLessThan(1e-6 * Math.max(1, Math.abs(wanted)));
	}
});

test.each(["f16", "bf16"] as const)("every number of %s is unpacked to the bit", async (format) => {
	// All of them but those that are not finite.
	const exponent = format === "f16" ? 0x7c00 : 0x7f80;
	const smallest = format === "f16" ? 0x0400 : 0x0080;
	const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
	// A device may take numbers below the smallest normal one for 0.
	const bits = all.filter((value) => (value & exponent) !== exponent && (value & 0x7fff) >= smallest);
	const out = gpu.buffer("out", bits.length * 4);
	const size = gpu.constants(bits.length / 4);
	const found = await run(
		unpackWeights(format),
		[size, upload(bits), out],
		unpackGroups(bits.length),
		out,
		bits.length,
	);
	expect(found).toEqual(toFloat32(new Uint8Array(bits.buffer, bits.byteOffset, bits.byteLength), format));
	expect(fromFloat32(found.slice(0, 8), format)).toEqual(new Uint8Array(bits.slice(0, 8).buffer));
});

test("losses of large logits, without a target, and of a part of the rows", async () => {
	const [rows, vocab, stride] = [7, 51, 64];
	const FIRST = 3;
	const logits = randomTensor([rows, stride], randomStream(3), 60).data;
	const targets = Uint32Array.from({ length: FIRST + rows }, (_, i) =>
		i === 5 ? NO_TARGET : (i * 17) % vocab,
	);
	const losses = gpu.buffer("losses", targets.byteLength);
	const size = gpu.constants(FIRST, rows, vocab, stride);
	const bindings = [size, upload(logits), upload(targets), losses];
	const found = await run(tokenLosses(gpu.threads(256)), bindings, rows, losses, targets.length);
	expect([...found.subarray(0, FIRST)]).toEqual([0, 0, 0]);
	for (let row = 0; row < rows; row++) {
		const own = [...logits.subarray(row * stride, row * stride + vocab)];
		const top = Math.max(...own);
		const norm = top + Math.log(own.reduce((sum, logit) => sum + Math.exp(logit - top), 0));
		const target = targets[FIRST + row]!;
		expect(found[FIRST + row]!).toBeCloseTo(target === NO_TARGET ? 0 : norm - own[target]!, 4);
	}
});

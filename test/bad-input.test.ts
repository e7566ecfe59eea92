/** Every format, damaged in every way we could think of, through the source that `sae activations file` is. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeArrowFile } from "../core/arrow/writer.ts";
import { writeSafetensors } from "../core/files/safetensors.ts";
import { soundFiles } from "./bad-files.ts";
import { countingStream } from "./core/streams.ts";
import { openSource, rowsFrom } from "./plugins/sources.ts";

const folder = await mkdtemp(join(tmpdir(), "sae-bad-"));
afterAll(() => rm(folder, { recursive: true }));

const sound = await soundFiles(folder);
const path = join(folder, "input");

/** Reads a file to its end; what went wrong. */
async function failure(bytes: Uint8Array, tensor?: string): Promise<unknown> {
	await Bun.write(path, bytes);
	return openSource("file", { paths: [path], tensor })
		.then(rowsFrom)
		.then(
			() => undefined,
			(error: unknown) => error,
		);
}

function expectClear(error: unknown): void {
	expect(error).toMatchObject({ name: "SaeError", exitCode: 3 });
	const { message } = error as Error;
	expect(message).toContain(path);
	expect(message).not.toContain("\n");
}

describe.each(sound)("$format", ({ format, bytes, tensor }) => {
	test("is read when it is sound", async () => {
		expect(await failure(bytes, tensor)).toBeUndefined();
	});

	test("empty", async () => {
		const error = await failure(new Uint8Array(0), tensor);
		expectClear(error);
		expect((error as Error).message).toContain("is empty");
	});

	test("cut off anywhere", async () => {
		const step = Math.max(1, Math.floor(bytes.length / 50));
		for (let length = 1; length < bytes.length; length += step) {
			expectClear(await failure(bytes.subarray(0, length), tensor));
		}
		expectClear(await failure(bytes.subarray(0, -1), tensor));
	});

	test("overwritten with zeros from the middle on", async () => {
		// Zeros are sound values: only a format whose middle is not all values can notice.
		if (format === ".npy" || format === "IDX") return;
		const damaged = bytes.slice().fill(0, Math.floor(bytes.length / 2));
		expectClear(await failure(damaged, tensor));
	});
});

/** The bytes with `patch` written at `at`. */
function patched(bytes: Uint8Array, at: number, patch: Uint8Array): Uint8Array {
	const copy = bytes.slice();
	copy.set(patch, at);
	return copy;
}

const bytesFor = (format: string) => sound.find((file) => file.format === format)!.bytes;
const text = (value: string) => new TextEncoder().encode(value);
const HUGE = new Uint8Array(8).fill(0x7f);

describe("gigantic by its header", () => {
	const npy = bytesFor(".npy");
	const shape = Buffer.from(npy).indexOf("(6, 4)");
	test.each([
		[
			"safetensors header",
			patched(bytesFor("safetensors"), 0, Uint8Array.of(0, 0, 0, 5, 0, 0, 0, 0)),
			"claims a header",
		],
		[".npy shape", patched(npy, shape, text("(9999999999, 4)")), "needs 160000000112 bytes"],
		[
			".npy header",
			patched(bytesFor(".npy"), 6, Uint8Array.of(2, 0, 255, 255, 255, 127)),
			"header is too long",
		],
		["IDX sizes", patched(bytesFor("IDX"), 4, HUGE), "its sizes"],
		[
			"gzip size",
			patched(bytesFor("IDX gzipped"), bytesFor("IDX gzipped").length - 4, HUGE.subarray(0, 4)),
			"incorrect length check",
		],
		["Arrow metadata", patched(bytesFor("Arrow stream"), 4, HUGE.subarray(0, 4)), "damaged"],
		[
			"Arrow footer",
			patched(bytesFor("Arrow file"), bytesFor("Arrow file").length - 10, HUGE.subarray(0, 4)),
			"damaged",
		],
	])("%s", async (_, bytes, message) => {
		const error = await failure(bytes, "x");
		expectClear(error);
		expect((error as Error).message).toContain(message);
	});
});

describe("sound, but not what is wanted", () => {
	test.each([
		["Parquet", "PAR1....", "Parquet; convert it to Arrow"],
		["a pickle", "\x80\x02}q\x00.", "pickle, which is never loaded"],
		["text", "1,2,3\n4,5,6\n", "of no known format"],
		["other JSON", '{"a": 1}', "is not an index of safetensors files"],
	])("%s", async (_, content, message) => {
		const error = await failure(Uint8Array.from(content, (char) => char.charCodeAt(0)));
		expectClear(error);
		expect((error as Error).message).toContain(message);
	});

	test("no rows", async () => {
		await writeSafetensors(path, [{ name: "x", dtype: "f32", shape: [0, 4], data: new Float32Array(0) }]);
		expectClear(await openSource("file", { paths: [path] }).catch((error) => error));
	});

	test.each([Number.NaN, Number.POSITIVE_INFINITY])("%p among the values", async (bad) => {
		const data = new Float32Array(24);
		data[9] = bad;
		await writeSafetensors(path, [{ name: "x", dtype: "f32", shape: [6, 4], data }]);
		const rows = openSource("file", { paths: [path] }).then(rowsFrom);
		await expect(rows).rejects.toThrow("column activation: row 2 holds NaN or infinity (value 1)");
		const { schema, batches } = countingStream([3]);
		async function* spoiled() {
			for await (const batch of batches) {
				batch.data.children[0]!.children[0]!.values[5] = bad;
				yield batch;
			}
		}
		await writeArrowFile({ schema, batches: spoiled() }, path);
		await expect(openSource("file", { paths: [path] }).then(rowsFrom)).rejects.toThrow("row 1 holds NaN");
	});
});

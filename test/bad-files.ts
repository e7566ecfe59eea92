/** One small sound file of each format, for tests that damage them. */

import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { writeSafetensors } from "../core/files/safetensors.ts";
import { bytesOf, countingStream } from "./core/streams.ts";

const fixture = async (name: string) =>
	new Uint8Array(await Bun.file(join(import.meta.dir, "fixtures", name)).arrayBuffer());

export interface SoundFile {
	readonly format: string;
	readonly bytes: Uint8Array<ArrayBuffer>;
	/** The array to read, where there are several. */
	readonly tensor?: string;
}

/** `folder` takes the files that have to be written first. */
export async function soundFiles(folder: string): Promise<SoundFile[]> {
	const path = join(folder, "sound.safetensors");
	const x = { name: "x", dtype: "f32", shape: [6, 4], data: new Float32Array(24).fill(1) } as const;
	await writeSafetensors(path, [x, { ...x, name: "y", dtype: "f16", data: new Uint8Array(48) }], {
		format: "pt",
	});
	await Bun.write(join(folder, "shard"), Bun.file(path));
	const index = Buffer.from(JSON.stringify({ metadata: {}, weight_map: { x: "shard", y: "shard" } }));
	const idx = await fixture("arrays/floats-idx2");
	return [
		{ format: "Arrow stream", bytes: new Uint8Array(await bytesOf(countingStream([4, 3]))) },
		{ format: "Arrow file", bytes: new Uint8Array(await bytesOf(countingStream([4, 3]), "file")) },
		{ format: "Arrow zstd", bytes: await fixture("arrow/polars-list-f32-zstd.arrow") },
		{ format: "Arrow lz4", bytes: await fixture("arrow/polars-list-f32-lz4.arrow") },
		{ format: "Arrow dictionary", bytes: await fixture("arrow/polars-categorical-stream.arrow") },
		{ format: "safetensors", bytes: new Uint8Array(await Bun.file(path).arrayBuffer()), tensor: "x" },
		{ format: "safetensors index", bytes: new Uint8Array(index), tensor: "x" },
		{ format: ".npy", bytes: await fixture("arrays/f4.npy") },
		{ format: ".npz stored", bytes: await fixture("arrays/stored.npz"), tensor: "activations" },
		{ format: ".npz deflated", bytes: await fixture("arrays/deflated.npz"), tensor: "activations" },
		{ format: "IDX", bytes: idx },
		{ format: "IDX gzipped", bytes: new Uint8Array(gzipSync(idx)) },
	];
}

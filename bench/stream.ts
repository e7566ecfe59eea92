/**
 * How fast rows go from a file through a pipe to a reader, and what memory both ends take:
 *
 *     bun bench/stream.ts [GIGABYTES]
 *
 * starts itself twice, as producer (the source `file`, going through a 64 MB file again and again) and as consumer
 * (Arrow reader and row reader, shuffling), joined by a pipe, for float32 and float16 rows of 768 values.
 */
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readArrowStdin } from "../core/arrow/reader.ts";
import { stdoutSink } from "../core/arrow/stdout.ts";
import { writeArrow } from "../core/arrow/writer.ts";
import { writeSafetensors } from "../core/files/safetensors.ts";
import type { Context } from "../core/plugin.ts";
import { createRegistry } from "../core/registry.ts";
import { readRows } from "../core/rows.ts";
import { plugins } from "../plugins/index.ts";

const WIDTH = 768;
const [role = "1", ...args] = process.argv.slice(2);
if (role === "produce") await produce(args[0]!, Number(args[1]));
else if (role === "consume") await consume(Number(args[0]));
else await measure(Number(role) * 1e9);

async function produce(path: string, limit: number): Promise<void> {
	const source = (await createRegistry(plugins).find("source", "file"))!;
	const options = source.options.parse({ paths: [path], epochs: 1_000_000, limit });
	const { schema, batches } = await source.open(options, { command: "bench" } as Context);
	await writeArrow({ schema, batches: batches(0) }, stdoutSink());
	reportMemory("producer");
}

async function consume(shuffleBlock: number): Promise<void> {
	let bytes = 0;
	let began = 0;
	for await (const { data } of readRows(await readArrowStdin(), {
		columns: ["activation"],
		batchSize: 4096,
		shuffleBlock,
	})) {
		if (began === 0) began = performance.now();
		else bytes += data.byteLength;
	}
	const rate = bytes / 1e3 / (performance.now() - began);
	console.error(`shuffle block ${shuffleBlock}: ${rate.toFixed(0)} MB/s`);
	reportMemory("consumer");
}

function reportMemory(who: string): void {
	// In KiB on Linux.
	console.error(`  ${who}: peak ${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MiB`);
}

async function measure(bytes: number): Promise<void> {
	for (const [dtype, size] of [
		["f32", 4],
		["f16", 2],
	] as const) {
		const rows = 64e6 / size / WIDTH;
		const path = join(tmpdir(), `sae-bench-${process.pid}.safetensors`);
		const shape = [Math.floor(rows), WIDTH];
		const data = new Uint8Array(Math.floor(rows) * WIDTH * size).fill(0x35);
		await writeSafetensors(path, [{ name: "x", dtype, shape, data }]);
		for (const shuffleBlock of [0, 16384]) {
			const limit = Math.floor(bytes / size / WIDTH);
			console.error(`${(bytes / 1e9).toFixed(1)} GB of ${dtype}[${WIDTH}]`);
			const self = `${process.execPath} ${import.meta.path}`;
			await Bun.$`sh -c ${`${self} produce ${path} ${limit} | ${self} consume ${shuffleBlock}`}`;
		}
		await rm(path);
	}
}

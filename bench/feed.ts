/**
 * How fast rows go from a file to the device, stage by stage and end to end:
 *
 *   bun bench/feed.ts [--rows 400000] [--width 768] [--dtype float16|float32] [--batch 4096] [--shuffle 16384]
 *       [--threads 0,1,2,3] [--no-device]
 *
 * The files are made in a temporary folder and stay in the page cache. Each figure is the best of three runs, in
 * millions of rows per second, from the moment when the first batch is there.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { activationsBatch, activationsSchema, type VectorType } from "../core/arrow/activations.ts";
import { BlockingFileReader, openBytes } from "../core/arrow/bytes.ts";
import { openArrow, readArrowParts, readArrowStdin } from "../core/arrow/reader.ts";
import { writeArrowFile } from "../core/arrow/writer.ts";
import { writeSafetensors } from "../core/files/safetensors.ts";
import { firstNonFinite } from "../core/finite.ts";
import { gatherRows } from "../core/gather.ts";
import type { Gpu } from "../core/gpu/device.ts";
import { CounterRng } from "../core/random.ts";
import { allocate } from "../core/row-blocks.ts";
import { type RowBatch, type RowReaderOptions, readRows } from "../core/rows.ts";
import { permutation } from "../core/shuffle.ts";
import type { RecordStream } from "../core/stream.ts";
import { number, openDevice } from "./common.ts";

const { values } = parseArgs({
	options: {
		rows: { type: "string", default: "400000" },
		width: { type: "string", default: "768" },
		dtype: { type: "string", default: "float16" },
		batch: { type: "string", default: "4096" },
		shuffle: { type: "string", default: "16384" },
		threads: { type: "string", default: "0,1,2,3" },
		"no-device": { type: "boolean", default: false },
		/** The reading end of a pipe. */
		consume: { type: "boolean", default: false },
	},
});
const type = values.dtype as VectorType;
const ROWS = number("rows", values.rows);
const width = number("width", values.width);
const batchSize = number("batch", values.batch);
const shuffleBlock = number("shuffle", values.shuffle);
const threadCounts = values.threads.split(",").map(Number);
const BATCH_ROWS = 2048;
const RUNS = 3;

if (values.consume) report("pipe → batches", await fed(await readArrowStdin()));
else await measure();
process.exit(0);

async function measure(): Promise<void> {
	const folder = await mkdtemp(join(tmpdir(), "sae-feed-"));
	try {
		const arrow = await writeFiles(folder);
		console.log(`${ROWS} rows of ${type}[${width}], ${navigator.hardwareConcurrency} processors; M rows/s`);
		await stages(arrow);
		for (const threads of threadCounts) {
			await best(`file → batches, ${threads} threads`, async () => fed(await openArrow(arrow), { threads }));
		}
		for (const name of ["rows.arrow", "rows.safetensors"]) {
			const options = ["rows", "width", "dtype", "batch", "shuffle"] as const;
			const own = options.map((option) => `--${option} ${values[option]}`).join(" ");
			const sae = `${process.execPath} ${join(import.meta.dir, "../cli/main.ts")}`;
			const pipe = `${sae} activations file ${join(folder, name)} | ${process.execPath} ${import.meta.path} ${own} --consume`;
			console.log(`${name}:`);
			await Bun.$`sh -c ${pipe}`;
		}
		if (!values["no-device"]) await device(arrow);
	} finally {
		await rm(folder, { recursive: true });
	}
}

/** The same rows as an Arrow file and as safetensors. */
async function writeFiles(folder: string): Promise<string> {
	const schema = activationsSchema({ width, type });
	const data = allocate(type, BATCH_ROWS * width) as Uint16Array | Float32Array;
	// Numbers of every size below 1; their bits, of float16.
	for (let i = 0; i < data.length; i++) data[i] = type === "float16" ? (i * 0x9e37) & 0xbbff : Math.sin(i);
	async function* batches() {
		for (let at = 0; at < ROWS; at += BATCH_ROWS) {
			const rows = Math.min(BATCH_ROWS, ROWS - at);
			yield activationsBatch(schema, { data, rows, width, type }, {}, at);
		}
	}
	const arrow = join(folder, "rows.arrow");
	await writeArrowFile({ schema, batches: batches() }, arrow);
	const whole = Math.floor(ROWS / BATCH_ROWS);
	const bytes = new Uint8Array(whole * data.byteLength);
	for (let i = 0; i < whole; i++) bytes.set(new Uint8Array(data.buffer), i * data.byteLength);
	const tensor = {
		name: "x",
		dtype: type === "float16" ? "f16" : "f32",
		shape: [whole * BATCH_ROWS, width],
		data: bytes,
	} as const;
	await writeSafetensors(join(folder, "rows.safetensors"), [tensor]);
	return arrow;
}

/** What is done to every row, one thing at a time. */
async function stages(path: string): Promise<void> {
	await best("read, new memory", async () => {
		const bytes = await openBytes(path);
		const read = async () => (await bytes.read(BATCH_ROWS * width * 2)).length > 0;
		return timed(async () => {
			while (await read());
			await bytes.close();
			return ROWS;
		});
	});
	await best("read and decode, new memory", async () => {
		const { batches } = await openArrow(path);
		return timed(async () => {
			let rows = 0;
			for await (const batch of batches) rows += batch.numRows;
			return rows;
		});
	});
	await best("read and decode in place", async () => {
		const { parts } = await readArrowParts(new BlockingFileReader(path), true);
		return timed(async () => {
			let rows = 0;
			for await (const part of parts) rows += (await part.load()).numRows;
			return rows;
		});
	});
	const block = allocate(type, shuffleBlock * width) as Uint16Array | Float32Array;
	const target = allocate(type, shuffleBlock * width);
	const order = permutation(new CounterRng(0), shuffleBlock);
	const repeated = (work: () => void) => async () =>
		timed(async () => {
			for (let i = 0; i < 8; i++) work();
			return 8 * shuffleBlock;
		});
	await best(
		"check",
		repeated(() => firstNonFinite(block)),
	);
	await best(
		"copy",
		repeated(() => target.set(block)),
	);
	await best(
		"order of a shuffle",
		repeated(() => permutation(new CounterRng(0), shuffleBlock)),
	);
	await best(
		"gather",
		repeated(() => gatherRows(target, 0, block, width, order)),
	);
}

/** Uploads, alone and behind the reader. */
async function device(path: string): Promise<void> {
	const gpu = await openDevice();
	console.log(`${gpu.info.provider}: ${gpu.info.description || gpu.info.device}`);
	const buffer = gpu.buffer("rows", batchSize * width * 4);
	const batch = allocate(type, batchSize * width) as Uint16Array<ArrayBuffer> | Float32Array<ArrayBuffer>;
	const uploads = 64;
	const times = async (upload: () => unknown) =>
		timed(async () => {
			for (let i = 0; i < uploads; i++) await upload();
			await gpu.device.queue.onSubmittedWorkDone();
			return uploads * batchSize;
		});
	await best("upload, writeBuffer", () => times(() => write(gpu, buffer, batch)));
	const staging = mappedStaging(gpu, buffer, batch.byteLength);
	await best("upload, mapped staging", () => times(() => staging(batch)));
	for (const threads of threadCounts) {
		await best(`file → device, ${threads} threads`, async () =>
			fed(await openArrow(path), { threads }, ({ data }) => write(gpu, buffer, data)),
		);
	}
	gpu.close();
}

/** An upload as a step makes it, a submission after each. */
function write(gpu: Gpu, buffer: GPUBuffer, data: RowBatch["data"]): void {
	gpu.writePadded(buffer, data);
	gpu.device.queue.submit([gpu.device.createCommandEncoder().finish()]);
}

/** Buffers that stay mapped until they are filled, taking turns, and are then copied on the device. */
function mappedStaging(
	gpu: Gpu,
	buffer: GPUBuffer,
	size: number,
): (data: Uint16Array | Float32Array) => Promise<void> {
	const usage = 0x02 | 0x04; // MAP_WRITE | COPY_SRC
	const turns = Array.from({ length: 3 }, () => {
		const staging = gpu.device.createBuffer({ size, usage, mappedAtCreation: true });
		return { staging, ready: Promise.resolve() };
	});
	let turn = 0;
	return async (data) => {
		const slot = turns[turn++ % turns.length]!;
		await slot.ready;
		const { staging } = slot;
		new Uint8Array(staging.getMappedRange()).set(
			new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
		);
		staging.unmap();
		const encoder = gpu.device.createCommandEncoder();
		encoder.copyBufferToBuffer(staging, 0, buffer, 0, size);
		gpu.device.queue.submit([encoder.finish()]);
		slot.ready = staging.mapAsync(2).then(() => {});
	};
}

/** Rows per second of a training run's reader, without its first batch. */
async function fed(
	stream: RecordStream,
	options: Partial<RowReaderOptions> = {},
	use: (batch: RowBatch) => void = () => {},
): Promise<number> {
	const batches = readRows(stream, { columns: ["activation"], batchSize, shuffleBlock, ...options });
	use((await batches.next()).value!);
	return timed(async () => {
		let rows = 0;
		for await (const batch of batches) {
			use(batch);
			rows += batch.rows;
		}
		return rows;
	});
}

async function timed(work: () => Promise<number>): Promise<number> {
	const began = performance.now();
	const rows = await work();
	return (rows / (performance.now() - began)) * 1000;
}

async function best(name: string, run: () => Promise<number>): Promise<void> {
	let most = 0;
	for (let i = 0; i < RUNS; i++) most = Math.max(most, await run());
	report(name, most);
}

function report(name: string, rowsPerSecond: number): void {
	console.log(`  ${name.padEnd(30)} ${(rowsPerSecond / 1e6).toFixed(3)}`);
}

/**
 * The device layer: one object that owns a WebGPU device and everything made on it. Nothing here, nor in any
 * other file of this folder, imports Bun, so that the same kernels run in a browser.
 */

import { defaultTiles, type Tiles } from "./matmul.ts";
import type { HalfProduct } from "./tensor-product.ts";

/** What kind of device this is, for people and for caches. */
export interface GpuInfo {
	/** Package that opened the device, e.g. `bun-webgpu`. */
	readonly provider: string;
	readonly backend: string;
	readonly vendor: string;
	readonly device: string;
	readonly description: string;
	/** A driver that runs on the CPU (lavapipe, SwiftShader). */
	readonly software: boolean;
}

/** Opens devices. `open` throws when there is none that can compute. */
export interface GpuProvider {
	readonly name: string;
	open(): Promise<OpenDevice>;
}

export interface OpenDevice {
	readonly device: GPUDevice;
	readonly info: GpuInfo;
	/** A product on tensor cores, of devices that have them. */
	readonly halfProduct?: HalfProduct;
	/** Those that suit the device, where that has been measured. */
	readonly tiles?: Tiles;
	/** Whatever must stay referenced for as long as the device is used. */
	readonly keepAlive: readonly unknown[];
}

/** A failure of the device: out of memory, lost, past a limit, or a kernel it refused. */
export class GpuError extends Error {
	constructor(message: string) {
		super(message);
		this.name = "GpuError";
	}
}

/** NVIDIA's driver reads the length of a binding of 2 GiB or more as 0 (crbug 435684920). */
const LARGEST_SAFE_BINDING = 2 ** 31 - 4096;

const SOFTWARE_THREADS = 8;

const STORAGE = 0x80 | 0x08 | 0x04; // STORAGE | COPY_DST | COPY_SRC
const UNIFORM = 0x40 | 0x08; // UNIFORM | COPY_DST
const STAGING = 0x01 | 0x08; // MAP_READ | COPY_DST
const ARRIVING = 0x02 | 0x04; // MAP_WRITE | COPY_SRC
const MAP_MODE_READ = 1;
const MAP_MODE_WRITE = 2;

/** Larger staging buffers are rare (checkpoints) and not worth keeping; a batch's rows take less. */
const MOST_KEPT = 2 ** 27;

/** Bytes of a buffer: a multiple of four from `byteOffset`, by default 0. */
export interface BufferPart {
	readonly buffer: GPUBuffer;
	readonly byteOffset?: number;
	readonly bytes: number;
}

/** A device that is open, with its queue, its pipelines and its failures. */
export class Gpu {
	readonly device: GPUDevice;
	readonly info: GpuInfo;
	readonly halfProduct: HalfProduct | undefined;
	readonly tiles: Tiles;
	/** Largest storage buffer that one binding can hold, in bytes. */
	readonly maxBinding: number;
	readonly #keepAlive: readonly unknown[];
	readonly #pipelines = new Map<string, GPUComputePipeline>();
	readonly #staging = new Map<number, GPUBuffer[]>();
	/** Mapped, by size. */
	readonly #arriving = new Map<number, GPUBuffer[]>();
	#failure: GpuError | undefined;
	#closed = false;

	/** `maxBinding`: a limit below that of the device, for whoever wants to see what happens when arrays are cut. */
	constructor(opened: OpenDevice, maxBinding = LARGEST_SAFE_BINDING) {
		this.device = opened.device;
		this.info = opened.info;
		this.halfProduct = opened.halfProduct;
		this.tiles = opened.tiles ?? defaultTiles(opened.info);
		this.#keepAlive = opened.keepAlive;
		const { maxStorageBufferBindingSize, maxBufferSize } = this.device.limits;
		this.maxBinding = Math.min(maxStorageBufferBindingSize, maxBufferSize, maxBinding);
		this.device.onuncapturederror = (event) => this.#fail(event.error?.message ?? "unknown GPU error");
		void this.device.lost?.then((lost) =>
			this.#fail(`the GPU device was lost: ${lost.message || lost.reason}`),
		);
	}

	#fail(message: string): void {
		if (!this.#closed) this.#failure ??= new GpuError(oneLine(message));
	}

	/** Throws the first failure that the device reported since it was opened, or that it is closed. */
	check(): void {
		if (this.#failure) throw this.#failure;
		if (this.#closed) throw new GpuError("the GPU device is closed");
	}

	/** A storage buffer of at least `bytes`, zeroed. */
	buffer(label: string, bytes: number): GPUBuffer {
		const size = Math.max(16, Math.ceil(bytes / 16) * 16);
		if (size > this.maxBinding) {
			throw new GpuError(
				`${label} needs ${mebibytes(size)} in one buffer, this device allows ${mebibytes(this.maxBinding)}: use a smaller batch`,
			);
		}
		return this.device.createBuffer({ label, size, usage: STORAGE });
	}

	uniform(label: string, bytes: number): GPUBuffer {
		return this.device.createBuffer({ label, size: Math.ceil(bytes / 16) * 16, usage: UNIFORM });
	}

	/** A uniform of u32 that never change, as whole vectors of four, as kernels declare them. */
	constants(...words: number[]): GPUBuffer {
		const padded = new Uint32Array(Math.ceil(words.length / 4) * 4);
		padded.set(words);
		const uniform = this.uniform("constants", padded.byteLength);
		this.write(uniform, padded);
		return uniform;
	}

	write(buffer: GPUBuffer, data: ArrayBufferView<ArrayBuffer>, byteOffset = 0): void {
		if (data.byteLength === 0) return;
		this.device.queue.writeBuffer(buffer, byteOffset, data.buffer, data.byteOffset, data.byteLength);
	}

	/** Writes numbers of any width: the device takes multiples of four bytes, so an odd float16 gets a zero beside it. */
	writePadded(buffer: GPUBuffer, data: Float32Array | Uint32Array | Uint16Array): void {
		if (data.byteLength % 4 === 0) {
			this.write(buffer, data as typeof data & ArrayBufferView<ArrayBuffer>);
			return;
		}
		const even = new Uint16Array(data.length + 1);
		even.set(data);
		this.write(buffer, even);
	}

	/**
	 * As {@link writePadded}, to the beginning of a buffer, for what comes again and again: through memory that is kept,
	 * where each large write of the queue's own asks the driver for new one. Software devices are written to directly.
	 */
	upload(buffer: GPUBuffer, data: Float32Array | Uint32Array | Uint16Array): void {
		const { byteLength: bytes } = data;
		if (this.info.software || bytes === 0 || bytes % 4 > 0 || bytes > MOST_KEPT) {
			this.writePadded(buffer, data);
			return;
		}
		const size = stagingSize(bytes);
		const pool = this.#arriving.get(size) ?? [];
		this.#arriving.set(size, pool);
		const staging =
			pool.pop() ??
			this.device.createBuffer({ label: "arriving", size, usage: ARRIVING, mappedAtCreation: true });
		new Uint8Array(staging.getMappedRange()).set(new Uint8Array(data.buffer, data.byteOffset, bytes));
		staging.unmap();
		const encoder = this.device.createCommandEncoder();
		encoder.copyBufferToBuffer(staging, 0, buffer, 0, bytes);
		this.device.queue.submit([encoder.finish()]);
		// Failures of the device are reported by themselves.
		staging.mapAsync(MAP_MODE_WRITE).then(
			() => pool.push(staging),
			() => {},
		);
	}

	/** A compute pipeline for WGSL with the entry point `main`; the same text gives the same pipeline. */
	pipeline(label: string, code: string): GPUComputePipeline {
		let pipeline = this.#pipelines.get(code);
		if (!pipeline) {
			const module = this.device.createShaderModule({ label, code });
			pipeline = this.device.createComputePipeline({
				label,
				layout: "auto",
				compute: { module, entryPoint: "main" },
			});
			this.#pipelines.set(code, pipeline);
		}
		return pipeline;
	}

	/** Runs `make` (allocations, pipelines) and reports what the device refused of it, in one line. */
	async checked<T>(what: string, make: () => T): Promise<T> {
		this.check();
		this.device.pushErrorScope("validation");
		this.device.pushErrorScope("out-of-memory");
		const made = make();
		const memory = await this.device.popErrorScope();
		const validation = await this.device.popErrorScope();
		if (memory) throw new GpuError(`out of GPU memory for ${what}: use a smaller batch or a smaller d_sae`);
		if (validation) throw new GpuError(`the GPU refused ${what}: ${oneLine(validation.message)}`);
		return made;
	}

	/** Reads bytes back, after everything submitted before. */
	read(buffer: GPUBuffer, byteOffset: number, bytes: number): Promise<ArrayBuffer> {
		return this.readParts([{ buffer, byteOffset, bytes }], ([words]) => words!.slice().buffer);
	}

	/**
	 * As {@link read}, of several places at once, whose bytes come in whole words. What `take` is given is the device's own
	 * memory, which is gone when it returns.
	 */
	async readParts<T>(
		parts: readonly BufferPart[],
		take: (words: readonly Uint32Array<ArrayBuffer>[]) => T,
	): Promise<T> {
		this.check();
		const bytes = parts.reduce((sum, part) => sum + part.bytes, 0);
		const size = stagingSize(bytes);
		const pool = this.#staging.get(size) ?? [];
		this.#staging.set(size, pool);
		const staging = pool.pop() ?? this.device.createBuffer({ label: "staging", size, usage: STAGING });
		const encoder = this.device.createCommandEncoder();
		const starts: number[] = [];
		let end = 0;
		for (const part of parts) {
			encoder.copyBufferToBuffer(part.buffer, part.byteOffset ?? 0, staging, end, part.bytes);
			starts.push(end);
			end += part.bytes;
		}
		this.device.queue.submit([encoder.finish()]);
		try {
			await staging.mapAsync(MAP_MODE_READ, 0, bytes);
		} catch (error) {
			this.check();
			throw new GpuError(`reading back from the GPU failed: ${oneLine(String(error))}`);
		}
		try {
			const mapped = staging.getMappedRange(0, bytes);
			return take(parts.map((part, i) => new Uint32Array(mapped, starts[i], part.bytes / 4)));
		} finally {
			staging.unmap();
			if (size <= MOST_KEPT) pool.push(staging);
			else staging.destroy();
			this.check();
		}
	}

	/**
	 * Threads for a workgroup that would best have `wanted`. Software drivers run a workgroup on one core and pay for
	 * every thread that waits at a barrier, so there they are few.
	 */
	threads(wanted: number): number {
		return this.info.software ? Math.min(wanted, SOFTWARE_THREADS) : wanted;
	}

	/** Threads that share a row of `width` numbers, four each at a time; each holds at most eight such parts. */
	rowThreads(width: number): number {
		const fewest = 2 ** Math.ceil(Math.log2(Math.max(1, width / 4 / 8)));
		return Math.max(this.threads(64), Math.min(64, fewest));
	}

	/** Frees the device and everything made on it. */
	close(): void {
		if (this.#closed) return;
		this.#closed = true;
		void this.#keepAlive;
		this.device.destroy();
	}
}

/** Few sizes, so that buffers fit again. */
function stagingSize(bytes: number): number {
	return Math.max(256, 2 ** Math.ceil(Math.log2(bytes)));
}

function mebibytes(bytes: number): string {
	return `${(bytes / 2 ** 20).toFixed(0)} MiB`;
}

function oneLine(message: string): string {
	return message.replace(/\s+/g, " ").trim().slice(0, 400);
}

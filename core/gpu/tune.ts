/**
 * Which tiles a GPU multiplies matrices fastest with: measured once for each device and driver, and kept in the user's
 * cache. Tiles are chosen among those that give the same bits, so that nothing but time depends on them.
 */
import { mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import { Gpu, GpuError, type GpuInfo, type OpenDevice } from "../../kernels/gpu.ts";
import { denseProduct, STAGED_TILES, type Tile, type Tiles, tileGroups } from "../../kernels/matmul.ts";
import { profile } from "../../kernels/profile.ts";
import { dispatch } from "../../kernels/program.ts";
import { writeAtomically } from "../files/atomic.ts";
import { cachePath } from "../files/cache.ts";
import { isOn } from "./switches.ts";

interface Log {
	info?(message: string): void;
}

/** Rows, columns, inner dimension. */
type Size = readonly [number, number, number];

interface Trial extends Readonly<Record<keyof Tiles, Size>> {
	readonly tiles: readonly Tile[];
}

/** Products that stand for all of their kind. */
const TRIAL: Trial = { tiles: STAGED_TILES, large: [2048, 8192, 768], small: [256, 4096, 256] };

/** Runs of a kernel, of which the fastest counts; the first also wakes the device. */
const RUNS = 6;

const Choices = z.record(z.string(), z.object({ large: z.int().min(0), small: z.int().min(0) }));
/** By device, numbers of tiles among those that were tried. */
type Choices = z.infer<typeof Choices>;

/** The device with its tiles. Software drivers and devices without a clock keep the defaults. */
export async function tuned(opened: OpenDevice, log?: Log, trial = TRIAL): Promise<OpenDevice> {
	if (opened.info.software || !isOn("SAE_TUNE") || !opened.device.features.has("timestamp-query"))
		return opened;
	const path = cachePath("tiles.json");
	const kept = await read(path);
	const key = keyOf(opened.info, trial);
	const tilesOf = ({ large, small }: Choices[string]) => ({
		large: trial.tiles[large]!,
		small: trial.tiles[small]!,
	});
	const known = kept[key];
	if (known && Math.max(known.large, known.small) < trial.tiles.length)
		return { ...opened, tiles: tilesOf(known) };
	log?.info?.(`choosing kernels for ${opened.info.description || opened.info.device}, once`);
	const gpu = new Gpu(opened);
	const found = {
		large: await fastest(gpu, trial.tiles, trial.large),
		small: await fastest(gpu, trial.tiles, trial.small),
	};
	await write(path, { ...kept, [key]: found });
	return { ...opened, tiles: tilesOf(found) };
}

/** What a choice depends on: the kernels tried, the program that compiles them, and the device. */
function keyOf({ provider, backend, vendor, device, description }: GpuInfo, { tiles }: Trial): string {
	return [JSON.stringify(tiles.map(Object.values)), provider, backend, vendor, device, description].join("|");
}

/** The number of the fastest tile for products of this size. */
async function fastest(gpu: Gpu, tiles: readonly Tile[], [rows, columns, inner]: Size): Promise<number> {
	const [a, b, out] = [rows * inner, columns * inner, rows * columns].map((n) => gpu.buffer("trial", n * 4));
	const place = gpu.constants(0, 0, inner / 4, columns / 4);
	let best = { number: 0, nanoseconds: Number.POSITIVE_INFINITY };
	for (const [number, tile] of tiles.entries()) {
		const nanoseconds = await timeOf(gpu, tile, [place, a!, b!, out!], tileGroups(tile, rows, columns));
		if (nanoseconds < best.nanoseconds) best = { number, nanoseconds };
	}
	for (const buffer of [a, b, out, place]) buffer!.destroy();
	return best.number;
}

/** Nanoseconds; infinite for a tile that the device can't run. */
async function timeOf(
	gpu: Gpu,
	tile: Tile,
	bindings: readonly GPUBuffer[],
	groups: readonly [number, number, number],
): Promise<number> {
	try {
		const product = await gpu.checked("a trial product", () =>
			dispatch(gpu, "trial", denseProduct(tile, "set"), bindings, groups),
		);
		const timings = await profile(gpu, new Array(RUNS).fill(product));
		return Math.min(...timings.slice(1).map(({ nanoseconds }) => nanoseconds));
	} catch (error) {
		if (error instanceof GpuError) return Number.POSITIVE_INFINITY;
		throw error;
	}
}

/** What is kept; nothing where there is none, or none that makes sense. */
async function read(path: string): Promise<Choices> {
	try {
		return Choices.parse(JSON.parse(await readFile(path, "utf8")));
	} catch {
		return {};
	}
}

/** A cache that can't be written costs the next command the same second again, and nothing else. */
async function write(path: string, choices: Choices): Promise<void> {
	try {
		await mkdir(dirname(path), { recursive: true });
		await writeAtomically(path, (append) => append(Buffer.from(`${JSON.stringify(choices, null, "\t")}\n`)));
	} catch {}
}

/** Choosing tiles: by measuring once, and from then on by what was found. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openGpu } from "../../../core/gpu/device.ts";
import { tuned } from "../../../core/gpu/tune.ts";
import type { Gpu, OpenDevice } from "../../../kernels/gpu.ts";
import { DIRECT_TILE } from "../../../kernels/matmul.ts";

/** Tiles that a software driver compiles quickly. */
const TILES = [DIRECT_TILE, { ...DIRECT_TILE, threadRows: 4 }];
const SMALL = { tiles: TILES, large: [128, 128, 16], small: [128, 128, 16] } as const;

let gpu: Gpu;
let opened: OpenDevice;
let folder: string;
const environment = { ...process.env };
beforeAll(async () => {
	gpu = await openGpu();
	opened = { device: gpu.device, info: { ...gpu.info, software: false }, keepAlive: [] };
	folder = await mkdtemp(join(tmpdir(), "sae-tune-"));
	process.env.XDG_CACHE_HOME = folder;
});
afterAll(async () => {
	process.env.XDG_CACHE_HOME = environment.XDG_CACHE_HOME;
	if (environment.XDG_CACHE_HOME === undefined) delete process.env.XDG_CACHE_HOME;
	await rm(folder, { recursive: true });
	gpu.close();
});

test("a device is measured once", async () => {
	const said: string[] = [];
	const log = { info: (message: string) => void said.push(message) };
	const first = await tuned(opened, log, SMALL);
	expect(TILES).toContain(first.tiles!.large);
	expect(said).toHaveLength(1);
	const again = await tuned(opened, log, SMALL);
	expect(again.tiles).toEqual(first.tiles);
	expect(said).toHaveLength(1);
}, 120_000);

test("what was found counts, if it makes sense", async () => {
	const path = join(folder, "saeflow", "tiles.json");
	const kept = JSON.parse(await readFile(path, "utf8"));
	const [key] = Object.keys(kept);
	await writeFile(path, JSON.stringify({ [key!]: { large: 1, small: 0 } }));
	const { tiles } = await tuned(opened, undefined, SMALL);
	expect(tiles).toEqual({ large: TILES[1]!, small: TILES[0]! });
	for (const nonsense of ["{", '{"x": 3}', JSON.stringify({ [key!]: { large: 99, small: 0 } })]) {
		await writeFile(path, nonsense);
		expect(TILES).toContain((await tuned(opened, undefined, SMALL)).tiles!.small);
	}
}, 120_000);

test("software drivers and SAE_TUNE=off keep the defaults", async () => {
	const software = { ...opened, info: gpu.info };
	expect(await tuned(software)).toBe(software);
	process.env.SAE_TUNE = "off";
	expect(await tuned(opened)).toBe(opened);
	process.env.SAE_TUNE = "maybe";
	expect(tuned(opened)).rejects.toThrow("SAE_TUNE=maybe: must be on or off");
	delete process.env.SAE_TUNE;
});

/** The encoder product, for every tile, from a place inside its operands. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { openGpu } from "../../core/gpu/device.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import {
	DIRECT_TILE,
	denseProduct,
	encoderProduct,
	GROUP,
	STAGED_TILE,
	STAGED_TILES,
	type Tile,
	tileGroups,
} from "../../kernels/matmul.ts";
import { dispatch, submit } from "../../kernels/program.ts";
import { randomStream, randomTensor } from "../reference/models.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

const ROWS = 128;
const FIRST_ROW = 128;
const LATENTS = 256;
const FIRST_LATENT = 128;
const STRIDE = FIRST_LATENT + LATENTS + 128;

const tiles: [string, Tile][] = [
	["staged", STAGED_TILE],
	["direct", DIRECT_TILE],
	["small and staged", { rows: 32, latents: 32, depth: 8, threadRows: 4, threadLatents: 4 }],
];

test.each(tiles.flatMap(([name, tile]) => [16, 48, 144].map((width) => [name, width, tile] as const)))(
	"tile %s, width %i",
	async (_, width, tile) => {
		const random = randomStream(width);
		const x = randomTensor([FIRST_ROW + ROWS, width], random).data;
		const W = randomTensor([LATENTS, width], random).data;
		const b = randomTensor([STRIDE], random).data;
		const upload = (data: Float32Array) => {
			const buffer = gpu.buffer("operand", data.byteLength);
			gpu.write(buffer, data as Float32Array<ArrayBuffer>);
			return buffer;
		};
		const place = gpu.uniform("place", 16);
		gpu.write(place, new Uint32Array([FIRST_ROW, FIRST_LATENT, width / 4, STRIDE / 4]));
		const pre = gpu.buffer("pre", ROWS * STRIDE * 4);
		const maxima = gpu.buffer("maxima", (ROWS * STRIDE * 4) / GROUP);
		const product = await gpu.checked("the product", () =>
			dispatch(
				gpu,
				"product",
				encoderProduct(tile),
				[place, upload(x), upload(W), upload(b), pre, maxima],
				tileGroups(tile, ROWS, LATENTS),
			),
		);
		submit(gpu, [product]);
		const values = new Float32Array(await gpu.read(pre, 0, ROWS * STRIDE * 4));
		const largest = new Float32Array(await gpu.read(maxima, 0, (ROWS * STRIDE * 4) / GROUP));
		let worst = 0;
		for (let row = 0; row < ROWS; row++) {
			for (let latent = 0; latent < LATENTS; latent++) {
				let exact = b[FIRST_LATENT + latent]!;
				for (let i = 0; i < width; i++) exact += x[(FIRST_ROW + row) * width + i]! * W[latent * width + i]!;
				worst = Math.max(worst, Math.abs(values[row * STRIDE + FIRST_LATENT + latent]! - exact));
			}
		}
		// Sums of up to 144 products below 1, in float32.
		expect(worst).toBeLessThan(1e-5);
		expect(worst).toBeGreaterThan(0);
		for (const [i, value] of largest.entries())
			expect(value).toBe(Math.max(...values.subarray(i * GROUP, (i + 1) * GROUP)));
		// Shards to the left and right are somebody else's.
		const untouched = values.filter((_, i) => {
			const latent = i % STRIDE;
			return latent < FIRST_LATENT || latent >= FIRST_LATENT + LATENTS;
		});
		expect(untouched.every((value) => value === 0)).toBe(true);
	},
);

test("staged tiles give the same bits", async () => {
	const random = randomStream(3);
	const inner = 80;
	const upload = (data: Float32Array) => {
		const buffer = gpu.buffer("operand", data.byteLength);
		gpu.write(buffer, data as Float32Array<ArrayBuffer>);
		return buffer;
	};
	const a = upload(randomTensor([ROWS, inner], random).data);
	const b = upload(randomTensor([LATENTS, inner], random).data);
	const results: Uint32Array[] = [];
	// Of every shape of thread; all of them would take software drivers a minute to compile.
	for (const tile of [0, 3, 6].map((i) => STAGED_TILES[i]!)) {
		const out = gpu.buffer("out", ROWS * LATENTS * 4);
		const place = gpu.constants(0, 0, inner / 4, LATENTS / 4);
		const product = await gpu.checked("the product", () =>
			dispatch(
				gpu,
				"product",
				denseProduct(tile, "set"),
				[place, a, b, out],
				tileGroups(tile, ROWS, LATENTS),
			),
		);
		submit(gpu, [product]);
		results.push(new Uint32Array(await gpu.read(out, 0, ROWS * LATENTS * 4)));
	}
	for (const bits of results) expect(bits).toEqual(results[0]!);
	expect(results[0]!.some((word) => word !== 0)).toBe(true);
}, 120_000);

/** Columns that no tile divides: those past them are not the result's. */
const COLUMNS = 144;

test.each(
	(["set", "add", "subtract"] as const).flatMap((use) =>
		tiles.slice(1).map(([name, tile]) => [use, name, tile] as const),
	),
)("a plain product, %s, tile %s", async (use, _, tile) => {
	const random = randomStream(5);
	const inner = 48;
	const A = randomTensor([ROWS, inner], random).data;
	const B = randomTensor([LATENTS, inner], random).data;
	const before = randomTensor([ROWS, COLUMNS], random).data;
	const upload = (data: Float32Array) => {
		const buffer = gpu.buffer("operand", data.byteLength);
		gpu.write(buffer, data as Float32Array<ArrayBuffer>);
		return buffer;
	};
	const place = gpu.uniform("place", 16);
	gpu.write(place, new Uint32Array([0, 0, inner / 4, COLUMNS / 4]));
	const out = upload(before);
	const minuend = use === "subtract" ? [upload(before)] : [];
	const product = await gpu.checked("the product", () =>
		dispatch(
			gpu,
			"product",
			denseProduct(tile, use),
			[place, upload(A), upload(B), out, ...minuend],
			tileGroups(tile, ROWS, LATENTS),
		),
	);
	submit(gpu, [product]);
	const values = new Float32Array(await gpu.read(out, 0, ROWS * COLUMNS * 4));
	let worst = 0;
	for (const [i, value] of values.entries()) {
		const [row, column] = [Math.floor(i / COLUMNS), i % COLUMNS];
		let exact = 0;
		for (let j = 0; j < inner; j++) exact += A[row * inner + j]! * B[column * inner + j]!;
		const wanted = { set: exact, add: before[i]! + exact, subtract: before[i]! - exact }[use];
		worst = Math.max(worst, Math.abs(value - wanted));
	}
	expect(worst).toBeLessThan(1e-5);
});

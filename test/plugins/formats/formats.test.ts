/** SAEs in other libraries' formats, written by PyTorch, safetensors and numpy, against those libraries' own formulas. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cp, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TrainingSpec } from "../../../core/architecture.ts";
import { builtIn } from "../../../core/built-in.ts";
import { type Gpu, openGpu } from "../../../core/gpu/device.ts";
import { importerOf, loadSae } from "../../../core/load.ts";
import { openSae } from "../../../core/open-sae.ts";
import type { Codes, SaeModel } from "../../../core/sae.ts";
import { parametersOf } from "../../../core/train/initialise.ts";

const FIXTURES = join(import.meta.dir, "../../fixtures/formats");

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

interface Expected {
	readonly x: number[][];
	readonly codes: number[][];
	readonly y: number[][];
}

function dense({ rows, offsets, index, value }: Codes, d_sae: number): Float64Array {
	const out = new Float64Array(rows * d_sae);
	for (let row = 0; row < rows; row++) {
		for (let entry = offsets[row]!; entry < offsets[row + 1]!; entry++) {
			out[row * d_sae + index[entry]!] = value[entry]!;
		}
	}
	return out;
}

async function run(model: SaeModel, x: readonly number[][]) {
	const runtime = await openSae(model, { gpu });
	const rows = Float32Array.from(x.flat());
	const codes = await runtime.encode(rows, x.length);
	const y = await runtime.decode(codes, rows);
	runtime.close();
	return { codes: dense(codes, model.d_sae), y };
}

function expectNear(actual: ArrayLike<number>, expected: readonly number[]): void {
	expect(actual.length).toBe(expected.length);
	for (const [i, value] of expected.entries()) expect(Math.abs(actual[i]! - value)).toBeLessThan(2e-5);
}

async function expectFormula(path: string, model: SaeModel): Promise<void> {
	const expected: Expected = await Bun.file(join(path, "expected.json")).json();
	// A fixture without codes would prove nothing.
	expect(expected.codes.flat().filter((value) => value > 0).length).toBeGreaterThan(10);
	const { codes, y } = await run(model, expected.x);
	expectNear(codes, expected.codes.flat());
	expectNear(y, expected.y.flat());
}

/** Where the SAE is in a fixture's folder, if not the folder itself. */
const FILES: Readonly<Record<string, string>> = { openai: "3.pt" };
const IMPORTERS: Readonly<Record<string, string>> = {
	"llama-scope/r1": "llamascopium",
	"llama-scope/llamascopium": "llamascopium",
	"llama-scope/llamascopium-topk": "llamascopium",
	"llama-scope/llamascopium-unset": "llamascopium",
};
/** Trained with an input scale that is nowhere in its files. */
const INCOMPLETE = ["saelens/average-lost"];

const formats = (await readdir(FIXTURES, { withFileTypes: true })).filter((entry) => entry.isDirectory());
for (const { name: format } of formats) {
	const names = (await readdir(join(FIXTURES, format), { withFileTypes: true })).filter((entry) =>
		entry.isDirectory(),
	);
	describe(format, () => {
		test.each(names.map(({ name }) => name))("%s encodes and decodes as its library does", async (name) => {
			const folder = join(FIXTURES, format, name);
			const path = join(folder, FILES[format] ?? "");
			const importer = await importerOf(path, await builtIn());
			expect(importer.name).toBe(IMPORTERS[`${format}/${name}`] ?? format);
			const model = await loadSae(path);
			if (INCOMPLETE.includes(`${format}/${name}`)) {
				await expect(openSae(model, { gpu })).rejects.toThrow("sae import --input-scale");
			} else await expectFormula(folder, model);
		});
	});
}

test("training on from them starts from the same SAE, whether or not b_dec is taken from the input", async () => {
	const spec = { apply_b_dec_to_input: true, parameters: PARAMETERS } as unknown as TrainingSpec;
	const model = await loadSae(join(FIXTURES, "gemma-scope/1"));
	const sizes = { d_in: 6, d_out: 6, d_sae: 16 };
	const values = parametersOf(spec, sizes, model, { input: 1, target: 1 });
	const { W_enc, b_enc, b_dec } = model.tensors;
	for (let latent = 0; latent < 16; latent++) {
		let moved = 0;
		for (let i = 0; i < 6; i++) moved += b_dec!.data[i]! * W_enc!.data[i * 16 + latent]!;
		expect(values.b_enc![latent]!).toBeCloseTo(b_enc!.data[latent]! + moved, 5);
	}
	const normed = await loadSae(join(FIXTURES, "openai/topk/3.pt"));
	expect(() => parametersOf(spec, sizes, normed, { input: 1, target: 1 })).toThrow(
		"the input step layer_norm",
	);
});

test("the folder of sparsify's SAEs says where they belong; transcoders read what comes into that module", async () => {
	const folder = await mkdtemp(join(tmpdir(), "sae-sparsify-"));
	const metadata = async (fixture: string, module: string) => {
		await cp(join(FIXTURES, "sparsify", fixture), join(folder, module), { recursive: true });
		return (await loadSae(join(folder, module))).metadata;
	};
	expect(await metadata("topk", "layers.3")).toEqual({ hook_name: "layers.3" });
	expect(await metadata("transcoder", "layers.3.mlp")).toEqual({
		hook_name: "blocks.3.ln2.out",
		hook_name_out: "layers.3.mlp",
	});
	expect(await metadata("transcoder", "layers.3.attn")).toEqual({ hook_name_out: "layers.3.attn" });
	await rm(folder, { recursive: true });
});

const PARAMETERS = [
	{ name: "W_enc", shape: ["d_sae", "d_in"] },
	{ name: "b_enc", shape: ["d_sae"] },
	{ name: "W_dec", shape: ["d_sae", "d_out"] },
	{ name: "b_dec", shape: ["d_out"] },
];

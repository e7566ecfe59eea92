/**
 * Equal quality: the FVU that our TopK step reaches, beside that of a float32 PyTorch step of the same equations
 * (quality.py), from the same first weights and on the same batches in the same order.
 *
 *   bun bench/quality.ts [--data FILE|synthetic] [--d-sae 1024] [--k 16] [--batch 1024] [--steps 5000] [--aux-weight 0]
 *
 * --data is a file of activations (safetensors or .npy, float16 or float32), the demo's unless given, or synthetic rows of
 * --d-in values. Compare where training has settled: on the way down, runs differ by what float32 rounds. Rows are
 * taken from its beginning: --rows of them to train on, again and again, and two batches of what follows to measure on.
 * Both sides read them from one file. Our step runs once on each provider that there is, or on the one that SAE_GPU
 * names. The first line of each step's table is what the others are compared with: PyTorch's where python3 has it.
 * Ends with 1 where a final FVU is farther off than half a percent.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { core } from "../core/api.ts";
import { fromFloat32, widened } from "../core/files/dtype.ts";
import { openTensorFile } from "../core/files/open.ts";
import { writeSafetensors } from "../core/files/safetensors.ts";
import { rowTensor } from "../core/files/tensor-file.ts";
import { dictionary, type Generator, rowWriter } from "../plugins/synthetic/generator.ts";
import { defaultRate, firstWeights, NEVER, number, specOf } from "./common.ts";
import { type Contestant, hasTorch, linesOf, ours } from "./contestants.ts";
import type { QualitySettings } from "./quality-ours.ts";

/** How far apart final FVUs may be: a share. */
const TOLERANCE = 0.005;
const HELD_OUT_BATCHES = 2;
/** Rows from which b_dec's start and the data's scale are taken. */
const SAMPLE_ROWS = 4096;
/** Rows that are made or read at a time. */
const BLOCK = 4096;

const { values } = parseArgs({
	options: {
		data: { type: "string", default: `${import.meta.dir}/../demo/data/activations.safetensors` },
		rows: { type: "string", default: "131072" },
		"d-in": { type: "string", default: "768" },
		"d-sae": { type: "string", default: "1024" },
		k: { type: "string", default: "16" },
		batch: { type: "string", default: "1024" },
		steps: { type: "string", default: "5000" },
		lr: { type: "string" },
		"aux-weight": { type: "string", default: "0" },
		"dead-after": { type: "string" },
	},
});

/** Rows by blocks, as bytes of `dtype`. */
interface Source {
	readonly width: number;
	readonly dtype: "f16" | "f32";
	/** Rows that there are. */
	readonly rows: number;
	read(start: number, count: number): Promise<Uint8Array>;
}

const folder = await mkdtemp(join(tmpdir(), "sae-quality-"));
try {
	process.exitCode = await compare(join(folder, "quality.safetensors"));
} finally {
	await rm(folder, { recursive: true });
}
// A device of ours may have left something behind that keeps the process.
process.exit();

async function compare(path: string): Promise<number> {
	const settings = await prepare(path);
	const py: Contestant = {
		name: "PyTorch f32",
		command: ["python3", `${import.meta.dir}/quality.py`, path],
		env: {},
	};
	const own = ours([process.execPath, `${import.meta.dir}/quality-ours.ts`, path]);
	const contestants = [...(hasTorch() ? [py] : []), ...own];
	console.log(`d_in ${settings.d_in}, d_sae ${settings.d_sae}, k ${settings.k}, batch ${settings.batch}`);
	console.log("| | step | loss | held-out FVU | its difference |\n|---|---|---|---|---|");
	let reference: Map<number, number> | undefined;
	let worst = 0;
	let compared = 0;
	for (const contestant of contestants) {
		const reached = new Map<number, number>();
		for await (const { step, loss, squared_error } of linesOf<Line>(contestant)) {
			const fvu = squared_error / settings.variance;
			reached.set(step, fvu);
			const other = reference?.get(step);
			const difference = other === undefined ? "" : `${(100 * (fvu / other - 1)).toFixed(3)} %`;
			console.log(
				`| ${contestant.name} | ${step} | ${loss.toPrecision(7)} | ${fvu.toPrecision(6)} | ${difference} |`,
			);
		}
		if (reached.size === 0) continue;
		const final = reached.get(settings.steps);
		if (final === undefined) throw new Error(`${contestant.name} did not reach the last step`);
		if (reference) {
			worst = Math.max(worst, Math.abs(final / reference.get(settings.steps)! - 1));
			compared++;
		}
		reference ??= reached;
	}
	if (compared === 0) {
		console.log("\none step alone: there is nothing to compare it with");
		return 0;
	}
	const within = worst <= TOLERANCE;
	console.log(
		`\nfinal FVUs differ by ${(100 * worst).toFixed(3)} % at the most: ${within ? "within" : "MORE THAN"} ${100 * TOLERANCE} %`,
	);
	return within ? 0 : 1;
}

interface Line {
	readonly step: number;
	/** Of the batch, before the step changed anything. */
	readonly loss: number;
	/** Σ over the held-out rows, after it. */
	readonly squared_error: number;
}

/** Writes everything that a contestant needs to know into one file. */
async function prepare(path: string): Promise<QualitySettings> {
	const batch = number("batch", values.batch);
	const source = values.data === "synthetic" ? synthetic(batch) : await fromFile(values.data);
	const { width: d_in, dtype } = source;
	const held = HELD_OUT_BATCHES * batch;
	const rows = Math.floor(Math.min(number("rows", values.rows), source.rows - held) / batch) * batch;
	if (rows < batch) throw new Error(`${source.rows} rows are too few for a batch and ${held} held out`);
	const size = { d_in, d_sae: number("d-sae", values["d-sae"]), k: number("k", values.k), batch };
	const floats = async (start: number, count: number) => {
		const bytes = await source.read(start, count);
		const { buffer, byteOffset, byteLength } = bytes;
		return widened(
			dtype === "f16"
				? new Uint16Array(buffer, byteOffset, byteLength / 2)
				: new Float32Array(buffer, byteOffset, byteLength / 4),
		);
	};
	const sample = await floats(0, Math.min(rows, SAMPLE_ROWS));
	const scale = Math.fround(
		1 / Math.sqrt(sample.reduce((sum, x) => sum + x * x, 0) / (sample.length / d_in)),
	);
	const aux_weight = Number(values["aux-weight"]);
	const first = firstWeights(
		specOf("topk", size, { aux_weight }),
		size,
		sample.map((x) => x * scale),
	);
	const settings: QualitySettings = {
		...size,
		steps: number("steps", values.steps),
		every: Math.max(1, Math.floor(number("steps", values.steps) / 10)),
		lr: values.lr === undefined ? defaultRate(size.d_sae) : Number(values.lr),
		aux_weight,
		k_aux: Math.min(512, Math.floor(d_in / 2)),
		dead_after: values["dead-after"] === undefined ? NEVER : number("dead-after", values["dead-after"]),
		scale,
		variance: variance(await floats(rows, held), d_in, scale),
	};
	const shapes: Record<string, number[]> = {
		W_enc: [size.d_sae, d_in],
		W_dec: [size.d_sae, d_in],
		b_enc: [size.d_sae],
		b_dec: [d_in],
	};
	await writeSafetensors(
		path,
		[
			...Object.entries(shapes).map(([name, shape]) => ({
				name,
				dtype: "f32" as const,
				shape,
				data: first[name]!,
			})),
			{ name: "rows", dtype, shape: [rows, d_in], data: blocks(source, 0, rows) },
			{ name: "held_out", dtype, shape: [held, d_in], data: blocks(source, rows, held) },
		],
		{ settings: JSON.stringify(settings) },
	);
	return settings;
}

async function* blocks({ read }: Source, start: number, count: number): AsyncGenerator<Uint8Array> {
	for (let row = 0; row < count; row += BLOCK) yield await read(start + row, Math.min(BLOCK, count - row));
}

async function fromFile(path: string): Promise<Source> {
	const file = await openTensorFile(path);
	const { rows, width, dtype, name } = rowTensor(file);
	if (dtype !== "f16" && dtype !== "f32")
		throw new Error(`${path}: holds ${dtype}; float16 or float32 is needed`);
	const read = async (start: number, count: number) =>
		// Aligned for whatever they are.
		(await file.readElements(name, start * width, count * width)).slice();
	return { width, dtype, rows, read };
}

/** Sparse sums of random features with some noise, in float16. */
function synthetic(batch: number): Source {
	const width = number("d-in", values["d-in"]);
	const k = Math.min(number("k", values.k), width);
	const generator: Generator = {
		d_in: width,
		features: 4 * width,
		support: { count: k, correlation: 0 },
		magnitude: { low: 0.2, high: 1.8 },
		noise: 0.3 * Math.sqrt(k / width),
		seed: 1,
	};
	const write = rowWriter(core, generator, dictionary(core, generator));
	const read = async (start: number, count: number) => {
		const out = new Float32Array(count * width);
		write(out, start, count);
		return fromFloat32(out, "f16");
	};
	return { width, dtype: "f16", rows: number("rows", values.rows) + HELD_OUT_BATCHES * batch, read };
}

/** Σ of the rows' squared distances from their mean. */
function variance(rows: Float32Array, width: number, scale: number): number {
	const sums = new Float64Array(width);
	let square = 0;
	for (const [i, value] of rows.entries()) {
		const scaled = Math.fround(value * scale);
		sums[i % width]! += scaled;
		square += scaled ** 2;
	}
	return square - sums.reduce((sum, each) => sum + each ** 2, 0) / (rows.length / width);
}

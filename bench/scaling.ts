/**
 * How the time and the device memory of a TopK step grow with d_sae, with the batch and with k: a table on stdout, and a
 * drawing, scaling.svg.
 *
 *   bun bench/scaling.ts [--d-sae 4096,…,131072] [--batch 1024,…,32768] [--k 16,…,256] [--d-in 768] [--around 32768,4096,32]
 *       [--out bench/scaling]
 *
 * One size changes at a time, about the d_sae, batch and k of --around. Each is timed in a process of its own, on each
 * provider that there is, or on the one that SAE_GPU names. Memory is what core estimates, and where nvidia-smi is
 * there also what the driver counts, the context included. The drawing is made anew after each line.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { number, numbers, type Size } from "./common.ts";
import { type Contestant, linesOf, ours } from "./contestants.ts";
import { type Line, panels } from "./scaling-svg.ts";
import type { TimedLine } from "./step.ts";

const { values } = parseArgs({
	options: {
		"d-in": { type: "string", default: "768" },
		"d-sae": { type: "string", default: "4096,8192,16384,32768,65536,131072" },
		batch: { type: "string", default: "1024,2048,4096,8192,16384,32768" },
		k: { type: "string", default: "16,32,64,128,256" },
		around: { type: "string", default: "32768,4096,32" },
		steps: { type: "string", default: "30" },
		out: { type: "string", default: `${import.meta.dir}/scaling` },
	},
});

const CHANGED = ["d_sae", "batch", "k"] as const;
const GB = 1e9;

interface Point extends TimedLine {
	readonly name: string;
}

const [d_sae = 32768, batch = 4096, k = 32] = numbers("around", values.around);
const centre: Size = { d_in: number("d-in", values["d-in"]), d_sae, batch, k };
const listed = {
	d_sae: numbers("d-sae", values["d-sae"]),
	batch: numbers("batch", values.batch),
	k: numbers("k", values.k),
};
const points: Point[] = [];
await mkdir(values.out, { recursive: true });
console.log("| | d_sae | batch | k | ms/step | M rows/s | estimated GB | measured GB |");
console.log("|---|---|---|---|---|---|---|---|");
const sizes = new Map(
	CHANGED.flatMap((name) => listed[name].map((value): Size => ({ ...centre, [name]: value }))).map((size) => [
		JSON.stringify(size),
		size,
	]),
);
let failed = 0;
for (const provider of ours([])) {
	for (const size of sizes.values()) {
		// A size that a device has no room for leaves a gap.
		const there = await time({ ...provider, command: commandOf(size) }).catch((error: Error) => {
			console.error(`${JSON.stringify(size)}: ${error.message}`);
			failed++;
			return true;
		});
		if (!there) break;
	}
}
process.exit(failed === 0 ? 0 : 1);

function commandOf({ d_in, d_sae, batch, k }: Size): string[] {
	const flags = Object.entries({ "d-in": d_in, "d-sae": d_sae, batch, k, steps: values.steps });
	return [
		...[process.execPath, `${import.meta.dir}/step.ts`, "--json"],
		...flags.flatMap(([flag, value]) => [`--${flag}`, String(value)]),
	];
}

/** Whether there is such a device. */
async function time(contestant: Contestant): Promise<boolean> {
	const before = points.length;
	for await (const line of linesOf<TimedLine>(contestant)) {
		points.push({ ...line, name: contestant.name });
		const { d_sae, batch, k, ms, rows_per_second, estimated_bytes, measured_bytes } = line;
		const figures = [
			ms.toPrecision(4),
			(rows_per_second / 1e6).toPrecision(3),
			(estimated_bytes / GB).toPrecision(3),
			measured_bytes === undefined ? "" : (measured_bytes / GB).toPrecision(3),
		];
		console.log(`| ${[contestant.name, d_sae, batch, k, ...figures].join(" | ")} |`);
		await Bun.write(join(values.out, "scaling.svg"), drawing());
	}
	return points.length > before;
}

function drawing(): string {
	const names = [...new Set(points.map(({ name }) => name))];
	const lines = names.flatMap((name, number) =>
		CHANGED.flatMap((changed, column): Line[] => {
			const own = points
				.filter((point) => point.name === name && isOf(point, changed))
				.sort((a, b) => a[changed] - b[changed]);
			const line = (row: number, dashed: boolean, y: (point: Point) => number | undefined): Line => ({
				...{ row, column, number, dashed },
				points: own.flatMap((point) => {
					const value = y(point);
					return value === undefined || value <= 0 ? [] : [[point[changed], value] as const];
				}),
			});
			return [
				line(0, false, ({ ms }) => ms),
				line(1, false, ({ estimated_bytes }) => estimated_bytes / GB),
				line(1, true, ({ measured_bytes }) => measured_bytes && measured_bytes / GB),
			].filter(({ points }) => points.length > 0);
		}),
	);
	const measured = points.some(({ measured_bytes }) => measured_bytes !== undefined);
	const { d_in, d_sae, batch, k } = centre;
	return panels({
		title: `A TopK training step: d_in ${d_in}; d_sae ${d_sae}, batch ${batch}, k ${k} where they do not change`,
		columns: CHANGED,
		rows: [
			{ title: "ms per step" },
			{ title: "GB of device memory", dashed: measured ? "memory as the driver counts it" : undefined },
		],
		lines,
		names,
	});
}

/** Whether only this size may be another than in the centre, and it is one that was listed for it. */
function isOf(point: Point, changed: (typeof CHANGED)[number]): boolean {
	return (
		CHANGED.every((name) => name === changed || point[name] === centre[name]) &&
		listed[changed].includes(point[changed])
	);
}

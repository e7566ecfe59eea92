/**
 * Our step beside those of the PyTorch libraries (peers.py), on one device, on the same rows and from the same weights,
 * as a table of ratios.
 *
 *   bun bench/compare.ts [--d-in 768] [--d-sae 32768] [--k 32] [--batch 4096,8192,32768] [--select topk,batchtopk]
 *
 * Sizes may be lists: every combination is compared. Ours runs on each provider that there is, or on the one that SAE_GPU
 * names; ratios are in the order of our lines of the same selection. (Only TopK's product is one of tensor cores.) The
 * others need python3 with PyTorch; without it only ours is printed. Lines come as they are measured. Ends with 1 where one
 * of our steps failed, or the loss of a first step is not that of our first line of the same selection.
 */
import { parseArgs } from "node:util";
import { type Select, SIZE_OPTIONS, type Size, selectOf, sizesOf } from "./common.ts";
import { type Contestant, hasTorch, linesOf, ours } from "./contestants.ts";
import type { TimedLine } from "./step.ts";

/** How far apart the losses of a first step may be, as a share, by what products are computed in. */
const TOLERANCE = { f32: 1e-4, half: 2e-2 } as const;

interface PeerLine {
	readonly name: string;
	readonly select: Select;
	readonly precision: keyof typeof TOLERANCE;
	readonly rows_per_second?: number;
	readonly first_loss?: number;
	/** Why there is no figure. */
	readonly why?: string;
}

const { values } = parseArgs({
	options: {
		...SIZE_OPTIONS,
		batch: { type: "string", default: "4096,8192,32768" },
		select: { type: "string", default: "topk,batchtopk" },
		steps: { type: "string", default: "30" },
	},
});
const torch = hasTorch();
const selects = values.select.split(",").map(selectOf);
/** What is wrong, as a person would say it. */
const problems: string[] = [];
for (const size of sizesOf(values)) await compare(size);
console.log(
	problems.length === 0
		? `\nlosses of the first step agree: within ${TOLERANCE.f32} in float32, ${TOLERANCE.half} in half precision`
		: `\nPROBLEMS: ${problems.join("; ")}`,
);
process.exit(problems.length === 0 ? 0 : 1);

async function compare(size: Size): Promise<void> {
	const flags = flagsOf(size);
	console.log(`\n${flags.join(" ").replaceAll("--", "")}`);
	console.log("| step | M rows/s | first loss | ours is faster by |\n|---|---|---|---|");
	const rates = new Map<Select, number[]>();
	const losses = new Map<Select, number>();
	const check = (name: string, select: Select, loss: number, tolerance: number) => {
		const first = losses.get(select);
		if (first === undefined) losses.set(select, loss);
		else if (!(Math.abs(loss / first - 1) <= tolerance))
			problems.push(`the loss of ${name} is another (${flags.join(" ")})`);
	};
	const time = async (contestant: Contestant, select: Select) => {
		for await (const { device, rows_per_second, first_loss } of linesOf<TimedLine>(contestant)) {
			rates.set(select, [...(rates.get(select) ?? []), rows_per_second]);
			check(contestant.name, select, first_loss, TOLERANCE.f32);
			const name = `${contestant.name}, ${select} (${device})`;
			console.log(`| ${name} | ${millions(rows_per_second)} | ${first_loss.toPrecision(6)} | |`);
		}
	};
	for (const select of selects) {
		const own = [...flags, "--select", select, "--steps", values.steps, "--json"];
		for (const contestant of ours([process.execPath, `${import.meta.dir}/step.ts`, ...own])) {
			await time(contestant, select).catch((error: Error) => problems.push(error.message));
		}
	}
	if (!torch) return;
	const peers: Contestant = {
		name: "PyTorch",
		command: ["python3", `${import.meta.dir}/peers.py`, ...flags],
		env: {},
	};
	for await (const line of linesOf<PeerLine>(peers)) {
		const { name, select, precision, rows_per_second, first_loss } = line;
		if (!selects.includes(select)) continue;
		if (rows_per_second === undefined || first_loss === undefined) {
			console.log(`| ${name} | ${line.why} | | |`);
			continue;
		}
		check(name, select, first_loss, TOLERANCE[precision]);
		const ratios = rates.get(select)?.map((rate) => `${(rate / rows_per_second).toFixed(2)} ×`) ?? [];
		console.log(
			`| ${name} | ${millions(rows_per_second)} | ${first_loss.toPrecision(6)} | ${ratios.join(", ")} |`,
		);
	}
}

function flagsOf({ d_in, d_sae, k, batch }: Size): string[] {
	return Object.entries({ "d-in": d_in, "d-sae": d_sae, k, batch }).flatMap(([flag, value]) => [
		`--${flag}`,
		String(value),
	]);
}

function millions(rate: number): string {
	return (rate / 1e6).toPrecision(3);
}

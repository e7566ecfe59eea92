/**
 * Our TopK step beside those of the PyTorch libraries, in one run on one device, as a table of ratios.
 *
 *   bun bench/compare.ts [--batch 4096,8192,32768] [--d-in 768] [--d-sae 32768] [--k 32]
 *
 * Needs python3 with PyTorch and CUDA for the others; without it only ours is printed.
 */
import { parseArgs } from "node:util";

const { values } = parseArgs({
	options: {
		"d-in": { type: "string", default: "768" },
		"d-sae": { type: "string", default: "32768" },
		k: { type: "string", default: "32" },
		batch: { type: "string", default: "4096,8192,32768" },
	},
});
const shape = ["--d-in", values["d-in"], "--d-sae", values["d-sae"], "--k", values.k];

interface Row {
	readonly name: string;
	readonly rows_per_second: number | null;
}

for (const batch of values.batch.split(",")) {
	const [ours] = await rowsOf([
		process.execPath,
		`${import.meta.dir}/step.ts`,
		"--json",
		...shape,
		"--batch",
		batch,
	]);
	const peers = await rowsOf(["python3", `${import.meta.dir}/peers.py`, ...shape, "--batch", batch]);
	if (!ours?.rows_per_second) throw new Error("our own step did not run");
	console.log(`\nd_in ${values["d-in"]}, d_sae ${values["d-sae"]}, k ${values.k}, batch ${batch}`);
	console.log("| step | M rows/s | ours is faster by |\n|---|---|---|");
	for (const { name, rows_per_second } of [ours, ...peers]) {
		const rate = rows_per_second === null ? "out of memory" : (rows_per_second / 1e6).toFixed(3);
		const ratio = rows_per_second === null ? "" : `${(ours.rows_per_second / rows_per_second).toFixed(2)} ×`;
		console.log(`| ${name} | ${rate} | ${ratio} |`);
	}
}

/** The JSON lines that a program prints. */
async function rowsOf(command: string[]): Promise<Row[]> {
	const child = Bun.spawn(command, { stdout: "pipe", stderr: "inherit" });
	const text = await new Response(child.stdout).text();
	return text
		.split("\n")
		.filter((line) => line.startsWith("{"))
		.map((line) => JSON.parse(line) as Row);
}

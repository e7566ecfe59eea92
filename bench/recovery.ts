/**
 * Trains every family at one L0 on rows whose features are known, and prints a Markdown table of what each found.
 *
 *   bun bench/recovery.ts [--full] [--only topk,crosscoder] [--out DIR] > table.md
 *
 * Everything goes through the commands that anyone has: `sae activations synthetic`, `sae sweep`, `sae eval`. FVU, L0 and
 * dead latents are those of the finished SAE on rows that training has not seen. Each line comes when it is done; with
 * --out, the same words again go on after the last one. --full is for a GPU.
 *
 * Families with an option k get k, the others, which have a penalty, --target-l0. A crosscoder sees the rows of
 * all others cut into two columns, so that each feature has a part in either. A transcoder needs other targets: rows of
 * twice the width are cut into what it sees and what it is to predict, with directions of their own for the same features,
 * and it is compared with those that it predicts.
 */
import { access, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { builtIn } from "../core/built-in.ts";
import { cutRows, HALVES, secondHalves } from "./halves.ts";

const { values } = parseArgs({
	options: {
		full: { type: "boolean", default: false },
		only: { type: "string" },
		out: { type: "string" },
	},
});

const { d_in, features, active, d_sae, rows, batch, held } = values.full
	? { d_in: 64, features: 256, active: 4, d_sae: 256, rows: 1_024_000, batch: 512, held: 32_768 }
	: { d_in: 32, features: 64, active: 4, d_sae: 64, rows: 128_000, batch: 256, held: 8192 };
const SEED = { data: 1, training: 0 };

/** What a family is trained on and compared with. */
type Data = "whole" | "halves" | "pair";

const COLUMNS: Readonly<Record<Data, string[]>> = {
	whole: [],
	halves: ["--column", HALVES.join()],
	pair: ["--column", HALVES[0], "--target", HALVES[1]],
};

interface Family {
	readonly architecture: string;
	/** What sets a variant apart, and how it comes to its L0. */
	readonly words: string;
	readonly data: Data;
}

const K = `--k ${active}`;
const TARGET = `--target-l0 ${active}`;
/** Families that have several lines, or that need other data. */
const VARIANTS: Readonly<Record<string, readonly Omit<Family, "architecture">[]>> = {
	relu: [
		{ words: TARGET, data: "whole" },
		{ words: `--penalty l1 ${TARGET}`, data: "whole" },
	],
	// It is relu, by the name that SAELens has for it.
	standard: [],
	jumprelu: [
		{ words: TARGET, data: "whole" },
		{ words: `--recipe anthropic ${TARGET}`, data: "whole" },
	],
	crosscoder: [
		{ words: TARGET, data: "halves" },
		{ words: `--select batchtopk ${K}`, data: "halves" },
	],
	transcoder: [
		{ words: K, data: "pair" },
		{ words: `--skip ${K}`, data: "pair" },
	],
};

const folder = values.out ?? (await mkdtemp(join(tmpdir(), "sae-recovery-")));
const path = (name: string) => join(folder, name);
await mkdir(folder, { recursive: true });
let failed = 0;
try {
	const lines = await families();
	await makeData();
	console.log("| family | options | L0 | FVU | MCC | recovered | dead |\n|---|---|---|---|---|---|---|");
	for (const one of lines) {
		const figures = await measure(one).catch((error: Error) => {
			failed++;
			console.error(`${one.architecture} ${one.words}: ${error.message}`);
			return ["failed", "", "", "", ""];
		});
		console.log(`| \`${one.architecture}\` | \`${one.words}\` | ${figures.join(" | ")} |`);
	}
} finally {
	if (values.out === undefined) await rm(folder, { recursive: true });
}
process.exit(failed > 0 ? 1 : 0);

/** The lines of the table. */
async function families(): Promise<Family[]> {
	const registry = await builtIn();
	const names = values.only?.split(",") ?? registry.names("architecture");
	const lines = names.map(async (architecture): Promise<Family[]> => {
		const found = await registry.find("architecture", architecture);
		if (!found) throw new Error(`there is no architecture ${architecture}`);
		const hasK = "k" in (found.options as unknown as { shape: object }).shape;
		const own = VARIANTS[architecture] ?? [{ words: hasK ? K : TARGET, data: "whole" }];
		return own.map((variant) => ({ architecture, ...variant }));
	});
	return (await Promise.all(lines)).flat();
}

async function makeData(): Promise<void> {
	for (const [name, width] of [
		["whole", d_in],
		["wide", 2 * d_in],
	] as const) {
		const all = rows + held;
		const generator = `--d-in ${width} --features ${features} --active ${active} --seed ${SEED.data}`.split(
			" ",
		);
		const make = (file: string, ...words: string[]) =>
			unlessThere(path(file), (to) => sae("activations", "synthetic", ...generator, ...words, "--out", to));
		await make(`${name}.arrow`, "--rows", `${rows}`, "--truth", path(`${name}-truth.safetensors`));
		await make(`${name}-held.arrow`, "--rows", `${all}`, "--start", `${rows}`);
	}
	for (const suffix of ["", "-held"]) {
		await unlessThere(path(`halves${suffix}.arrow`), (to) =>
			cutRows(path(`whole${suffix}.arrow`), to, d_in / 2),
		);
		await unlessThere(path(`pair${suffix}.arrow`), (to) => cutRows(path(`wide${suffix}.arrow`), to, d_in));
	}
	await unlessThere(path("pair-truth.safetensors"), (to) =>
		secondHalves(path("wide-truth.safetensors"), to, d_in),
	);
}

/** The cells of a family's line. */
async function measure({ architecture, words, data }: Family): Promise<string[]> {
	const [swept] = await rowsOf(
		...["sweep", path(`${data}.arrow`), "--sae", `${architecture} ${words}`, ...COLUMNS[data]],
		...[
			"--d-sae",
			`${d_sae}`,
			"--seed",
			`${SEED.training}`,
			"--tokens",
			`${rows}`,
			"--batch-size",
			`${batch}`,
		],
		...["--out", path(`${architecture} ${words}`), "--resume", "--format", "json"],
	);
	const trained = String(swept!.path);
	const held = path(`${data}-held.arrow`);
	const truth = path(`${data === "halves" ? "whole" : data}-truth.safetensors`);
	const [of] = await rowsOf("eval", "reconstruction", trained, held, "--format", "json");
	const found = await rowsOf("eval", "recovery", trained, "--truth", truth, "--format", "json");
	const { mcc, "recovery@0.9": recovered } = found.find(({ dictionary }) => dictionary === "sae")!;
	return [
		Number(of!.l0).toFixed(2),
		Number(of!.fvu).toFixed(4),
		Number(mcc).toFixed(3),
		percent(recovered),
		percent(of!.dead),
	];
}

function percent(share: unknown): string {
	return `${(100 * Number(share)).toFixed(1)} %`;
}

async function unlessThere(file: string, make: (to: string) => Promise<unknown>): Promise<void> {
	await access(file).catch(() => make(file));
}

/** The JSON lines that a command prints. */
async function rowsOf(...words: string[]): Promise<Record<string, unknown>[]> {
	const lines = (await sae(...words)).trim().split("\n");
	return lines.map((line) => JSON.parse(line));
}

/** Runs `sae` and returns what it prints. @throws with the end of its stderr. */
async function sae(...words: string[]): Promise<string> {
	const command = [process.execPath, join(import.meta.dir, "../cli/main.ts"), ...words];
	const child = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
	const [stdout, stderr] = await Promise.all([
		new Response(child.stdout).text(),
		new Response(child.stderr).text(),
	]);
	if ((await child.exited) === 0) return stdout;
	throw new Error(`sae ${words.join(" ")}: ${stderr.trim().split("\n").at(-1)}`);
}

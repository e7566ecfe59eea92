/**
 * `npm run demo`: runs a small language model (demo/data/README.md) over text and trains a sparse autoencoder on what
 * it computes, as a user would from a shell; then measures it on text that training did not see, inside the model too,
 * and shows what its latents respond to.
 */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { $ } from "bun";

const OUT = "demo/out";
const SAE = `${OUT}/my-sae`;
const MODEL = "demo/data/model";
const TEXT = "--text demo/data/held-out.txt --delimiter '<|endoftext|>'";
const ACTIVATIONS = `sae activations transformer ${MODEL} --hook-point blocks.1.hook_resid_post ${TEXT}`;

process.chdir(join(import.meta.dir, ".."));
await rm(OUT, { recursive: true, force: true });
await mkdir(OUT, { recursive: true });

console.log(`
saeflow demo: activations of a small language model, 128 wide, become sparse codes of 1024 latents, 16 of them
active.

1. Text goes into the model, its residual stream after the second block into an SAE: 18,432 tokens, again and again
   until 80,000 have been seen:`);
const began = performance.now();
await run(
	`${ACTIVATIONS} --limit 18432 --epochs 5`,
	`sae train topk --d-sae 1024 --k 16 --tokens 80000 --batch-size 256 --lr 0.008 --out ${SAE} --metrics ${OUT}/metrics.arrow`,
);
const seconds = (performance.now() - began) / 1000;

console.log("2. Measure it on the next 2,048 tokens, which it has not seen:");
await run(`${ACTIVATIONS} --start 18432 --limit 20480 --out ${OUT}/held-out.arrow`);
await run(`sae eval reconstruction ${SAE} ${OUT}/held-out.arrow --out ${OUT}/held-out.json`);
const figures = await Bun.file(`${OUT}/held-out.json`).json();

console.log(
	"3. Put it into the model, in place of what it reconstructs: how much worse are the predictions?",
);
await run(`sae eval loss ${SAE} --model ${MODEL} ${TEXT} --skip 18432 --limit 1024 --out ${OUT}/loss.json`);
const loss = await Bun.file(`${OUT}/loss.json`).json();

console.log("4. Encode them, and look at which words make some of the latents fire most:");
await run(`sae encode ${SAE} ${OUT}/held-out.arrow --out ${OUT}/latents.jsonl`);
for (const [latent, words] of await wordsOfLatents())
	console.log(`   latent ${`${latent}`.padStart(4)}: ${words.join(" ")}`);

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
console.log(`
Done: ${seconds.toFixed(0)} seconds of training. On held-out rows:
   FVU            ${figures.fvu.toFixed(3)}   (share of the variance that is not explained)
   L0             ${figures.l0.toFixed(1)}    (active latents per row)
   dead latents   ${percent(figures.dead)}
   loss           ${loss.ce_loss_without_sae.toFixed(2)} nats per token; ${loss.ce_loss_with_sae.toFixed(2)} with the SAE in the model, ${loss.ce_loss_with_mean_ablation.toFixed(2)} with the mean activation instead:
                  ${percent(loss.ce_loss_score_mean_ablation)} of the loss is recovered
The SAE is in ${SAE}: cfg.json and sae_weights.safetensors, as SAELens reads them.`);

/** Prints a pipeline as a user types it and runs it; ends the demo where it fails, for it has said why. */
async function run(...stages: string[]): Promise<void> {
	console.log(`\n$ ${stages.join(" |\n    ")}`);
	const { exitCode } = await $`${{ raw: executable(stages.join(" | ")) }}`.nothrow();
	if (exitCode !== 0) process.exit(exitCode);
	console.log("");
}

/** `sae` itself need not be installed: its source is next door. */
function executable(line: string): string {
	const sae = `${$.escape(process.execPath)} ${$.escape("cli/main.ts")} `;
	return line.replaceAll(/(^|\| )sae /g, `$1${sae}`);
}

/** Of the latents that fire now and then, the eight strongest, with the tokens on which they fire most. */
async function wordsOfLatents(): Promise<[latent: number, words: string[]][]> {
	const { vocab } = (await Bun.file("demo/data/model/tokenizer.json").json()).model;
	// Byte-level BPE writes a space as Ġ and a line's end as Ċ.
	const readable = (piece: string) => JSON.stringify(piece.replaceAll("Ġ", " ").replaceAll("Ċ", "\n"));
	const words = new Map(Object.entries(vocab).map(([piece, token]) => [token, readable(piece)]));
	const lines = (await Bun.file(`${OUT}/latents.jsonl`).text()).trimEnd().split("\n");
	const firings = lines
		.map((line) => JSON.parse(line))
		.flatMap(({ token, latents }) =>
			latents.map(({ index, value }: { index: number; value: number }) => ({ latent: index, value, token })),
		);
	return [...Map.groupBy(firings, ({ latent }) => latent)]
		.map(([latent, all]) => ({ latent, strongest: all.toSorted((a, b) => b.value - a.value) }))
		.filter(({ strongest }) => strongest.length >= 20 && strongest.length < 100)
		.toSorted((a, b) => b.strongest[7]!.value - a.strongest[7]!.value)
		.slice(0, 8)
		.map(({ latent, strongest }) => [latent, strongest.slice(0, 8).map(({ token }) => words.get(token)!)]);
}

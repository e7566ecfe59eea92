/** Small training runs as processes. */
import { join } from "node:path";
import { ended, sae, start } from "./sae.ts";

/** Words of a run that uses all there is: a falling k, every loss term, clipping, held-out rows, a shuffle. */
export const EVERYTHING = [
	...["--k", "3", "--k-start", "6", "--multi-topk", "0.125", "--aux-weight", "0.1", "--k-aux", "8"],
	...["--d-sae", "64", "--batch-size", "64", "--tokens", "12800", "--sample-rows", "512"],
	...["--clip", "1", "--dead-tokens", "1000", "--shuffle-buffer", "1000", "--lr", "0.003"],
	...["--eval-rows", "128", "--eval-every", "50", "--log-every", "20", "--checkpoint-every", "5"],
];

/** Writes synthetic rows of width 16 to a file, which tests of one run read again and again. */
export async function writeRows(path: string, rows: number): Promise<void> {
	const shape = ["--d-in", "16", "--features", "32", "--active", "3", "--rows", String(rows)];
	const { exitCode, stderr } = await sae(["activations", "synthetic", ...shape, "--out", path]);
	if (exitCode !== 0) throw new Error(stderr);
}

/** `sae train` with the rows of a file coming through a pipe; `train` is its process. */
export function trainPiped(rows: string, words: readonly string[]) {
	const producer = start(["activations", "file", rows]);
	return trainFrom(producer.stdout, words);
}

export function trainFrom(stdin: ReadableStream, words: readonly string[]) {
	const train = start(["train", ...words], {}, stdin);
	return { train, done: ended(train) };
}

/** A stream that says no more, and does not end, after these bytes. */
export function stalling(bytes: Uint8Array): ReadableStream {
	let given = false;
	return new ReadableStream({
		pull(controller) {
			if (given) return new Promise(() => {});
			given = true;
			controller.enqueue(bytes);
		},
	});
}

/** The bytes of the weights that a run left. */
export function weights(folder: string): Promise<Uint8Array> {
	return Bun.file(join(folder, "sae_weights.safetensors")).bytes();
}

export const checkpointOf = (folder: string) => join(folder, "training", "checkpoint.safetensors");

/** Rows of metrics that were written as JSON. */
export async function metricsIn(path: string): Promise<Record<string, number | string | null>[]> {
	const text = await Bun.file(path).text();
	return text
		.trim()
		.split("\n")
		.map((line) => JSON.parse(line));
}

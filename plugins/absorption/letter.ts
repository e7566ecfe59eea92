/** What an SAE has of one letter: a probe for it, the latents that carry it, and whether others take their place. */
import type { MetricRow, SaeModel } from "saeflow";
import { columnsOf, denseDesign, type Example, sparseDesign } from "../probing/examples.ts";
import { l1Regression } from "../probing/l1.ts";
import { type Design, logisticRegression, type Probe, type Regression } from "../probing/logistic.ts";
import { absorptionOf, accepted, type ProbeView } from "./absorption.ts";

/** Latents that a letter may be split into. */
export const MOST_SPLIT = 10;
/** Weight of the L1 penalty that latents are ranked by. */
export const L1_PENALTY = 0.01;

export interface LetterOptions {
	/** Probes whose F1 is no higher are left out. */
	readonly leastF1: number;
	/** By their weights in an L1-regularised probe, or by how much their mean rises on the letter. */
	readonly ranking: "l1" | "difference";
}

export function letterRow(
	letter: string,
	train: readonly Example[],
	test: readonly Example[],
	{ d_in, d_sae, tensors }: SaeModel,
	{ leastF1, ranking }: LetterOptions,
): MetricRow {
	const labelsOf = (examples: readonly Example[]) => examples.map(({ label }) => Number(label === letter));
	const raw = (examples: readonly Example[]) =>
		denseDesign(
			examples.map(({ activations }) => activations),
			d_in,
		);
	const latents = (examples: readonly Example[]) =>
		sparseDesign(
			examples.map((one) => one.latents),
			d_sae,
		);
	const [learn, check] = [labelsOf(train), labelsOf(test)];
	const balance = balanced(learn);
	const probe = logisticRegression(raw(train), learn, balance);
	const probeHits = hits(raw(test), probe);
	const probeF1 = f1(probeHits, check);
	const words = sum(learn) + sum(check);
	if (probeF1 <= leastF1) return { letter, words, probe_f1: probeF1, ...LEFT_OUT };

	const [known, unseen] = [latents(train), latents(test)];
	const ranked = rankLatents(known, learn, ranking).slice(0, MOST_SPLIT);
	const scores = accepted(ranked.length, (count) => {
		const columns = ranked.slice(0, count);
		const own = logisticRegression(columnsOf(known, columns), learn, balance);
		return f1(hits(columnsOf(unseen, columns), own), check);
	});
	const main = ranked.slice(0, scores.length);
	const direction = unit(probe.weights);
	const view = probeView(direction, tensors.W_dec!.data, d_sae, new Set(main));
	const found = test
		.filter((_, i) => check[i] && probeHits[i])
		.map((one) => absorptionOf(one.latents, dot(one.activations, direction), view));
	return {
		letter,
		words,
		probe_f1: probeF1,
		true_positives: found.length,
		main_latents: main.join(" "),
		split: main.length,
		top_1_f1: scores[0]!,
		full_absorption: sum(found.map(({ full }) => Number(full))) / found.length,
		absorption_fraction: sum(found.map(({ fraction }) => fraction)) / found.length,
	};
}

const LEFT_OUT = {
	true_positives: null,
	main_latents: "",
	split: null,
	top_1_f1: null,
	full_absorption: null,
	absorption_fraction: null,
};

/** Both sides weigh the same, and all examples as many as there are (scikit-learn's class_weight "balanced"). */
function balanced(labels: readonly number[]): Required<Regression> {
	const positives = sum(labels);
	const negatives = labels.length - positives;
	return { c: labels.length / (2 * negatives), positive: negatives / positives };
}

/** Latents, the most telling of the letter first. */
export function rankLatents(
	design: Design,
	labels: readonly number[],
	ranking: LetterOptions["ranking"],
): number[] {
	const rise = new Float64Array(design.width);
	const positives = sum(labels);
	const negatives = labels.length - positives;
	for (const [row, label] of labels.entries()) {
		design.add(row, label ? 1 / positives : -1 / negatives, rise);
	}
	const weights =
		ranking === "difference"
			? rise
			: l1Regression(design, labels, { penalty: L1_PENALTY, positive: negatives / positives }).weights;
	return Array.from(rise.keys()).sort((a, b) => weights[b]! - weights[a]! || rise[b]! - rise[a]! || a - b);
}

function probeView(
	direction: Float64Array,
	W_dec: Float32Array,
	d_sae: number,
	main: ReadonlySet<number>,
): ProbeView {
	const width = direction.length;
	const rows = Array.from({ length: d_sae }, (_, latent) =>
		W_dec.subarray(latent * width, (latent + 1) * width),
	);
	const norm = Float64Array.from(rows, (row) => Math.sqrt(dot(row, row)));
	return { norm, cosine: Float64Array.from(rows, (row, i) => dot(row, direction) / (norm[i]! || 1)), main };
}

function hits(design: Design, { weights, bias }: Probe): boolean[] {
	return Array.from({ length: design.rows }, (_, row) => design.dot(row, weights) + bias > 0);
}

function f1(found: readonly boolean[], labels: readonly number[]): number {
	const right = found.filter((hit, i) => hit && labels[i]).length;
	const either = found.filter(Boolean).length + sum(labels);
	return either === 0 ? 0 : (2 * right) / either;
}

function unit(values: Float64Array): Float64Array {
	const norm = Math.sqrt(dot(values, values)) || 1;
	return values.map((value) => value / norm);
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
	let total = 0;
	for (let i = 0; i < a.length; i++) total += a[i]! * b[i]!;
	return total;
}

function sum(values: readonly number[]): number {
	return values.reduce((total, value) => total + value, 0);
}

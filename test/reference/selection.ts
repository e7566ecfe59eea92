/** Which latents get codes. Ties go to the lowest row, then to the lowest latent. */
import { type LossTerm, RELU, type Schedule, type TrainingSpec } from "../../core/architecture.ts";
import {
	type Batch,
	type Conditions,
	latentScope,
	type Parameters,
	preActivations,
	scheduled,
	sizesOf,
} from "./encoder.ts";
import { truthOf } from "./formula.ts";

/** Latents kept, ascending, by term and row. */
export type Selection = readonly (readonly (readonly number[])[])[];

interface Candidate {
	readonly row: number;
	readonly latent: number;
	/** What candidates are ranked by. */
	readonly score: number;
}

export interface Encoder {
	readonly parameters: Parameters;
	/** Latents that count as dead, ascending. */
	readonly dead: readonly number[];
}

export function select(
	spec: TrainingSpec,
	{ parameters, dead }: Encoder,
	{ x }: Batch,
	conditions: Conditions,
): Selection {
	const { d_in, d_sae } = sizesOf(parameters);
	const rows = x.length / d_in;
	const z = preActivations(spec, parameters, x);
	const scopeOf = latentScope(spec, parameters, conditions);
	const every = Array.from({ length: d_sae }, (_, latent) => latent);
	return spec.loss.map((term) => {
		const keep = truthOf((term.activation ?? RELU).keep);
		const magnitude = term.select.kind === "topk" && term.select.by === "magnitude";
		const candidates: Candidate[] = [];
		for (let row = 0; row < rows; row++) {
			for (const latent of term.latents === "dead" ? dead : every) {
				const value = z[row * d_sae + latent]!;
				const score = magnitude ? Math.abs(value) : value;
				if (keep(scopeOf(latent, { z: value }))) candidates.push({ row, latent, score });
			}
		}
		const kept: number[][] = Array.from({ length: rows }, () => []);
		for (const { row, latent } of choose(term, candidates, rows, d_sae, conditions)) kept[row]!.push(latent);
		return kept.map((latents) => latents.sort((a, b) => a - b));
	});
}

function choose(
	{ select }: LossTerm,
	candidates: readonly Candidate[],
	rows: number,
	d_sae: number,
	{ progress, quotas }: Conditions,
): readonly Candidate[] {
	switch (select.kind) {
		case "all":
			return candidates;
		case "topk":
		case "product_keys": {
			const k = wholeK(select.k, progress);
			return largestOf(
				candidates,
				({ row }) => row,
				() => k,
			);
		}
		case "batch_topk":
			return largest(candidates, wholeK(select.k, progress) * rows);
		case "feature_topk":
			return largestOf(
				candidates,
				({ latent }) => latent,
				(latent) => quotas![latent]!,
			);
		case "group_max": {
			const { groups } = select;
			const groupOf = ({ row, latent }: Candidate) => row * groups + Math.floor((latent * groups) / d_sae);
			return largestOf(candidates, groupOf, () => 1);
		}
	}
}

function wholeK(k: Schedule, progress: number): number {
	return Math.round(scheduled(k, progress));
}

/** The `count` largest, in order. */
function largest(candidates: readonly Candidate[], count: number): Candidate[] {
	return candidates
		.toSorted((a, b) => b.score - a.score || a.row - b.row || a.latent - b.latent)
		.slice(0, count);
}

/** The largest of every group, as many as `count` says. */
function largestOf(
	candidates: readonly Candidate[],
	groupOf: (candidate: Candidate) => number,
	count: (group: number) => number,
): Candidate[] {
	const groups = Map.groupBy(candidates, groupOf);
	return [...groups].flatMap(([group, members]) => largest(members, count(group)));
}

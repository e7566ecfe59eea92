/** Families of latents: maximum spanning trees of which latents are on together (O'Neill et al. 2024). */
import type { PairCounts } from "../cooccurrence/counts.ts";

export interface Edge {
	/** The more frequent latent of the two; of two as frequent ones, the lower. */
	readonly parent: number;
	readonly child: number;
	/** P(parent on | child on). */
	readonly weight: number;
}

export interface Family {
	/** In which round of the search it was found, from 1. */
	readonly round: number;
	readonly root: number;
	/** Its edges, from the root on. */
	readonly edges: readonly Edge[];
}

export interface FamilySettings {
	/** Edges weigh at least this. */
	readonly threshold: number;
	/** How often roots are taken off and the rest searched again. */
	readonly rounds: number;
	/** Latents besides the root. */
	readonly leastChildren: number;
	/** Of two families whose members overlap by more than this (Jaccard), the larger one stays. */
	readonly overlap: number;
}

/** Numbers in edges are places in `counts.latents`. */
export function families(counts: PairCounts, settings: FamilySettings): Family[] {
	const edges = strongEdges(counts, settings.threshold);
	const gone = new Set<number>();
	const found: Family[] = [];
	for (let round = 1; round <= settings.rounds; round++) {
		const tree = spanningForest(edges.filter(({ parent, child }) => !gone.has(parent) && !gone.has(child)));
		const roots = rootsOf(tree);
		if (roots.length === 0) break;
		for (const root of roots) {
			gone.add(root);
			const own = below(root, tree);
			if (own.length >= settings.leastChildren) found.push({ round, root, edges: own });
		}
	}
	return withoutOverlap(found, settings.overlap);
}

/** Every pair that is on together often enough, strongest first; ties go to the lower latents. */
function strongEdges({ latents, together }: PairCounts, threshold: number): Edge[] {
	const edges: Edge[] = [];
	for (let i = 0; i < latents.length; i++) {
		for (let j = i + 1; j < latents.length; j++) {
			const both = together(i, j);
			if (both === 0) continue;
			const [parent, child] = together(i, i) >= together(j, j) ? [i, j] : [j, i];
			const weight = both / together(child, child);
			if (weight >= threshold) edges.push({ parent, child, weight });
		}
	}
	return edges.sort((a, b) => b.weight - a.weight || a.child - b.child || a.parent - b.parent);
}

/** Kruskal's method: an edge is kept unless its latents are connected already. */
function spanningForest(edges: readonly Edge[]): Edge[] {
	const above = new Map<number, number>();
	const top = (latent: number): number => {
		let at = latent;
		for (let next = above.get(at); next !== undefined; next = above.get(at)) {
			above.set(at, above.get(next) ?? next);
			at = next;
		}
		return at;
	};
	return edges.filter(({ parent, child }) => {
		const [a, b] = [top(parent), top(child)];
		if (a !== b) above.set(b, a);
		return a !== b;
	});
}

/** Latents that have children and no parent. */
function rootsOf(tree: readonly Edge[]): number[] {
	const children = new Set(tree.map(({ child }) => child));
	return [...new Set(tree.map(({ parent }) => parent))]
		.filter((parent) => !children.has(parent))
		.sort((a, b) => a - b);
}

function below(root: number, tree: readonly Edge[]): Edge[] {
	const reached = new Set([root]);
	const edges: Edge[] = [];
	let wave = [root];
	while (wave.length > 0) {
		const next = tree.filter(({ parent, child }) => wave.includes(parent) && !reached.has(child));
		for (const { child } of next) reached.add(child);
		edges.push(...next);
		wave = next.map(({ child }) => child);
	}
	return edges;
}

function withoutOverlap(found: readonly Family[], most: number): Family[] {
	const members = ({ edges }: Family) => new Set(edges.map(({ child }) => child));
	const kept: Family[] = [];
	for (const family of found.toSorted((a, b) => b.edges.length - a.edges.length || a.round - b.round)) {
		const own = members(family);
		const clash = kept.some((other) => {
			const theirs = members(other);
			return own.intersection(theirs).size / own.union(theirs).size > most;
		});
		if (!clash) kept.push(family);
	}
	return kept;
}

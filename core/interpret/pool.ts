/** Passages on which a latent is silent: those that other latents are active on. */
import type { CooccurringLatent, Feature } from "../arrow/features.ts";
import { CounterRng } from "../random.ts";
import { overlap, type Passage, passageOf } from "./passages.ts";

/** Passages kept of each latent, so that those of all fit into memory. */
const KEPT = 4;

/** Latents that are on together with another one more often than this are no source of passages where it is off. */
const TOGETHER = 0.1;

export interface Negatives {
	readonly passages: readonly Passage[];
	/**
	 * The mean chance that the latent is active somewhere in such a passage after all. A features stream holds some of a
	 * latent's activations only, so that this can't be ruled out for those that are active often.
	 */
	readonly doubt: number;
}

interface Entry {
	readonly count: number;
	readonly passages: readonly Passage[];
}

export class PassagePool {
	readonly #entries = new Map<number, Entry>();
	/** Every text once: what is kept are few tokens, many times. */
	readonly #texts = new Map<string, string>();
	readonly #zeros = new Map<number, Float32Array>();
	#latents: readonly number[] | undefined;

	/** Takes note of a latent. All must be there before passages are asked for. */
	add({ latent, count, top, samples }: Feature): void {
		const passages = [...top.slice(0, KEPT / 2), ...samples.slice(0, KEPT)]
			.map(passageOf)
			.filter((passage) => passage !== undefined)
			.slice(0, KEPT)
			.map((passage) => this.#silenced(passage));
		if (passages.length > 0) this.#entries.set(latent, { count, passages });
	}

	/** The same rows as a latent sees them that is silent there. */
	#silenced({ pieces, first }: Passage): Passage {
		const texts = pieces.map((text) => this.#texts.get(text) ?? text);
		for (const text of texts) this.#texts.set(text, text);
		const values = this.#zeros.get(pieces.length) ?? new Float32Array(pieces.length);
		this.#zeros.set(pieces.length, values);
		return { pieces: texts, values, first };
	}

	/**
	 * Up to `count` passages on which the latent is not known to be active: half from latents whose decoder rows or
	 * activity are like its own, where there are such, the others from any.
	 */
	negatives(feature: Feature, count: number, seed: number): Negatives {
		this.#latents ??= [...this.#entries.keys()];
		const rng = new CounterRng(seed).derive(feature.latent);
		const { latent, density } = feature;
		const own = activePassages(feature);
		const found: Passage[] = [];
		let doubt = 0;
		const take = (passage: Passage, together: number) => {
			if (found.some((other) => overlap(other, passage)) || own.some((other) => activeIn(other, passage))) {
				return false;
			}
			found.push(passage);
			doubt += Math.max(together, 1 - (1 - Math.min(1, density)) ** passage.pieces.length);
			return true;
		};
		for (const near of likeLatents(feature)) {
			const entry = this.#entries.get(near);
			const pair = feature.cooccurring.find((other) => other.latent === near);
			const together = entry && pair ? shareTogether(pair, feature.count, entry.count) : 0;
			if (!entry || together > TOGETHER) continue;
			for (const passage of entry.passages) {
				if (found.length >= count / 2) break;
				if (take(passage, together)) break;
			}
		}
		const latents = this.#latents;
		const tries = latents.length > 1 ? 20 * count : 0;
		for (let i = 0; i < tries && found.length < count; i++) {
			const other = latents[Math.floor(rng.uniform(2 * i) * latents.length)]!;
			const { passages } = this.#entries.get(other)!;
			if (other === latent) continue;
			take(passages[Math.floor(rng.uniform(2 * i + 1) * passages.length)]!, 0);
		}
		return { passages: found, doubt: found.length > 0 ? doubt / found.length : 0 };
	}
}

/** Latents like this one, most alike first, by decoder row and by activity in turns. */
function likeLatents({ nearest, cooccurring }: Feature): number[] {
	const turns = Array.from({ length: Math.max(nearest.length, cooccurring.length) }, (_, i) => [
		nearest[i]?.latent,
		cooccurring[i]?.latent,
	]);
	return [...new Set(turns.flat().filter((latent) => latent !== undefined))];
}

/** On what share of the rows of the other latent this one is active too. */
function shareTogether({ jaccard }: CooccurringLatent, count: number, otherCount: number): number {
	return otherCount > 0 ? Math.min(1, (jaccard * (count + otherCount)) / (1 + jaccard) / otherCount) : 1;
}

function activePassages({ top, samples }: Feature): Passage[] {
	return [...top, ...samples].map(passageOf).filter((passage) => passage !== undefined);
}

/** Whether a row of `other` is one on which the latent of `own` is active. */
function activeIn(own: Passage, other: Passage): boolean {
	if (!overlap(own, other)) return false;
	return own.values.some((value, i) => {
		const row = own.first + i - other.first;
		return value > 0 && row >= 0 && row < other.pieces.length;
	});
}

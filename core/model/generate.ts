/** Text from a model, token by token, with its keys and values kept. */
import { usageError } from "../errors.ts";
import { CounterRng } from "../random.ts";
import { finalRows } from "./losses.ts";
import type { HookHandler, Transformer } from "./transformer.ts";

export interface GenerateOptions {
	/** New tokens of each text at most. */
	readonly tokens: number;
	/** 0: always the likeliest token. */
	readonly temperature: number;
	/** Only the likeliest so many may be drawn; all unless given. */
	readonly topK?: number | undefined;
	readonly seed: number;
	/** Tokens that end a text; they are not part of it. */
	readonly stop: ReadonlySet<number>;
}

/** What is done to a pass over rows at these positions. */
export type PositionChange = (positions: Uint32Array) => ReadonlyMap<string, HookHandler>;

/**
 * Goes on with each prompt. Prompt i draws from numbers of its own, which depend on the seed and i alone, so that what
 * a change does to the pass is all that differs.
 *
 * @param model opened with a slot for each prompt.
 * @returns the new tokens.
 * @throws a usage error for a prompt that is empty or leaves too little room.
 */
export async function generate(
	model: Transformer,
	prompts: readonly Uint32Array[],
	options: GenerateOptions,
	change: PositionChange = () => new Map(),
	signal?: AbortSignal,
): Promise<Uint32Array[]> {
	for (const prompt of prompts) {
		if (prompt.length === 0) throw usageError("a prompt has no tokens");
		if (prompt.length + options.tokens > model.context) {
			throw usageError(
				`a prompt of ${prompt.length} tokens and ${options.tokens} new ones: ${model.context} positions are possible`,
			);
		}
	}
	const random = new CounterRng(options.seed);
	const texts = prompts.map((prompt, slot) => ({
		slot,
		draws: random.derive(slot),
		past: 0,
		next: [...prompt],
		made: [] as number[],
		done: options.tokens === 0,
	}));
	for (let step = 0; step < options.tokens; step++) {
		signal?.throwIfAborted();
		const going = texts.filter(({ done }) => !done);
		if (going.length === 0) break;
		const sequences = going.map(({ slot, past, next: { length } }) => ({ length, slot, past }));
		const tokens = Uint32Array.from(going.flatMap(({ next }) => next));
		const positions = sequences.flatMap(({ length, past }) => Array.from({ length }, (_, i) => past + i));
		const final = await finalRows(model, { tokens, sequences }, change(Uint32Array.from(positions)));
		let end = 0;
		const ends = sequences.map(({ length }) => {
			end += length;
			return end - 1;
		});
		const logits = await model.head!.read(final, ends);
		for (const [i, text] of going.entries()) {
			const token = drawToken(logits[i]!, options, text.draws.uniform(step));
			text.past += text.next.length;
			text.next = [token];
			text.done = options.stop.has(token);
			if (!text.done) text.made.push(token);
		}
	}
	return texts.map(({ made }) => Uint32Array.from(made));
}

/** The token that a number from [0, 1) draws. Of equal logits the lower token comes first. */
export function drawToken(
	logits: Float32Array,
	{ temperature, topK = logits.length }: Pick<GenerateOptions, "temperature" | "topK">,
	uniform: number,
): number {
	const likeliest = logits.reduce((best, logit, token) => (logit > logits[best]! ? token : best), 0);
	if (temperature === 0) return likeliest;
	const all = Uint32Array.from(logits.keys());
	const candidates =
		topK < logits.length ? all.sort((a, b) => logits[b]! - logits[a]! || a - b).subarray(0, topK) : all;
	const weights = Float64Array.from(candidates, (token) =>
		Math.exp((logits[token]! - logits[likeliest]!) / temperature),
	);
	let left = uniform * weights.reduce((sum, weight) => sum + weight, 0);
	for (const [i, token] of candidates.entries()) {
		left -= weights[i]!;
		if (left < 0) return token;
	}
	return likeliest;
}

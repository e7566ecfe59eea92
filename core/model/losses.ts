/** Cross-entropy of a model on tokens, and how it changes when the pass is changed. */
import { NO_TARGET } from "../../kernels/model/token-loss.ts";
import { SaeError } from "../errors.ts";
import type { Context } from "./text/contexts.ts";
import type { HookHandler, HookValue, TokenBatch, Transformer } from "./transformer.ts";

/** The tokens of a pass, row by row. */
export interface PassTokens extends TokenBatch {
	/** The document of each token, and its position in its context. */
	readonly documents: Uint32Array;
	readonly positions: Uint32Array;
	/** The token that comes after each in its context; NO_TARGET after the last. */
	readonly targets: Uint32Array;
}

/** What is done to a pass. */
export type Change = (pass: PassTokens) => ReadonlyMap<string, HookHandler>;

export interface PassLosses {
	readonly pass: PassTokens;
	/** Cross-entropy of each row in nats; 0 where nothing follows. */
	readonly clean: Float32Array;
	/** The same of each changed pass, and KL(clean ‖ changed) of each row. */
	readonly changed: readonly { readonly losses: Float32Array; readonly divergences: Float32Array }[];
}

/**
 * The first contexts, with so many tokens at most, held for passes that are run more than once. Contexts that begin
 * within the first `skip` tokens are passed over.
 */
export async function firstContexts(
	contexts: AsyncIterable<Context>,
	{ limit, skip }: { readonly limit: number; readonly skip: number },
): Promise<Context[]> {
	const found: Context[] = [];
	let left = limit;
	let before = skip;
	for await (const { tokens, documents } of contexts) {
		if (left <= 0) break;
		if (before > 0) {
			before -= tokens.length;
			continue;
		}
		found.push({ tokens: tokens.subarray(0, left), documents: documents.subarray(0, left) });
		left -= tokens.length;
	}
	if (found.length === 0) throw new SaeError("there are no tokens to run the model on");
	return found;
}

/** Contexts, as many at a time as a pass takes; none is cut. */
export async function* packPasses(
	contexts: Iterable<Context> | AsyncIterable<Context>,
	rows: number,
): AsyncGenerator<PassTokens> {
	let group: Context[] = [];
	let held = 0;
	for await (const context of contexts) {
		if (context.tokens.length > rows) {
			throw new SaeError(`a context of ${context.tokens.length} tokens: a pass takes ${rows}`);
		}
		if (held + context.tokens.length > rows) {
			yield passOf(group);
			group = [];
			held = 0;
		}
		group.push(context);
		held += context.tokens.length;
	}
	if (group.length > 0) yield passOf(group);
}

function passOf(contexts: readonly Context[]): PassTokens {
	const joined = (of: (context: Context) => ArrayLike<number>) =>
		Uint32Array.from(contexts.flatMap((context) => Array.from(of(context))));
	return {
		tokens: joined(({ tokens }) => tokens),
		documents: joined(({ documents }) => documents),
		positions: joined(({ tokens }) => [...tokens.keys()]),
		targets: joined(({ tokens }) => [...tokens.subarray(1), NO_TARGET]),
		sequences: contexts.map(({ tokens: { length } }) => ({ length })),
	};
}

/** Runs each pass as it is and then with each change. */
export async function* compareLosses(
	model: Transformer,
	passes: AsyncIterable<PassTokens>,
	changes: readonly Change[],
	signal?: AbortSignal,
): AsyncGenerator<PassLosses> {
	const head = model.head!;
	for await (const pass of passes) {
		signal?.throwIfAborted();
		const first = await finalRows(model, pass, new Map());
		const clean = await head.losses(first, pass.targets);
		const kept = head.keep(first);
		const changed: PassLosses["changed"][number][] = [];
		for (const change of changes) {
			signal?.throwIfAborted();
			const final = await finalRows(model, pass, change(pass));
			changed.push(await head.compare(kept, final, pass.targets));
		}
		yield { pass, clean, changed };
	}
}

/** What goes into the unembedding, when these hooks are called. */
export async function finalRows(
	model: Transformer,
	batch: TokenBatch,
	hooks: ReadonlyMap<string, HookHandler>,
): Promise<HookValue> {
	const found: HookValue[] = [];
	const own = hooks.get(FINAL);
	const last: HookHandler = async (value) => {
		await own?.(value);
		found.push(value);
	};
	await model.run(batch, new Map([...hooks, [FINAL, last]]));
	return found[0]!;
}

const FINAL = "ln_final.out";

/** Sums over the rows that count, exact whatever the sizes of passes are. */
export class LossMean {
	#loss = 0;
	#predictions = 0;
	#divergence = 0;
	#rows = 0;

	add(
		{ targets }: PassTokens,
		losses: Float32Array,
		divergences?: Float32Array,
		counts: (row: number) => boolean = () => true,
	): void {
		for (const [row, target] of targets.entries()) {
			if (!counts(row)) continue;
			this.#rows++;
			this.#divergence += divergences?.[row] ?? 0;
			if (target === NO_TARGET) continue;
			this.#predictions++;
			this.#loss += losses[row]!;
		}
	}

	/** Predictions that were counted. */
	get predictions(): number {
		return this.#predictions;
	}

	/** Mean over predictions; `kl_div` is over all rows. */
	get means(): { readonly ce_loss: number; readonly kl_div: number } {
		return { ce_loss: this.#loss / this.#predictions, kl_div: this.#divergence / this.#rows };
	}
}

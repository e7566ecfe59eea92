/** What a run will ask for, counted by going through it without a server. */
import type { Core, InterpreterInput } from "saeflow";
import { interpreter, type Settings } from "./interpreter.ts";
import type { Journal } from "./journal.ts";
import type { Request } from "./prompts.ts";

export interface Estimate {
	readonly latents: number;
	readonly requests: number;
	/** Of these, the answers that are there already. */
	readonly known: number;
	/** Tokens of those that are not there yet. */
	readonly promptTokens: number;
	readonly answerTokens: number;
}

/** Characters to a token, of English in the tokenizers of large models. */
const CHARACTERS_PER_TOKEN = 4;
/** What a server puts around each message. */
const TOKENS_PER_MESSAGE = 4;

/** Explanations that are not known yet count as long as they may well be. */
export async function estimate(
	core: Core,
	{ pool, latents }: InterpreterInput,
	settings: Settings,
	journal: Journal,
): Promise<Estimate> {
	const found = { latents: 0, requests: 0, known: 0, promptTokens: 0, answerTokens: 0 };
	const guess = async (request: Request) => {
		const answer = journal.lookUp(request);
		found.requests++;
		if (answer !== undefined) found.known++;
		else {
			for (const { content } of request.messages) found.promptTokens += TOKENS_PER_MESSAGE + tokens(content);
			found.answerTokens += tokens(request.expected);
		}
		return answer ?? request.expected;
	};
	const guessing = interpreter(core, { ask: guess }, pool, settings);
	for await (const latent of latents()) {
		found.latents++;
		await guessing.interpret(latent);
	}
	return found;
}

function tokens(text: string): number {
	return Math.ceil(text.length / CHARACTERS_PER_TOKEN);
}

export interface Price {
	/** For a million tokens. */
	readonly prompt: number;
	readonly answer: number;
}

/** What an estimate says, in a line. */
export function describe(
	{ latents, requests, known, promptTokens, answerTokens }: Estimate,
	price: Price | undefined,
): string {
	const asked = `${latents.toLocaleString("en")} latents take ${requests.toLocaleString("en")} requests`;
	const there = known > 0 ? `, of which ${known.toLocaleString("en")} have been answered before` : "";
	const sizes = `about ${readable(promptTokens)} tokens to read and ${readable(answerTokens)} to write`;
	const costs = price && (promptTokens * price.prompt + answerTokens * price.answer) / 1e6;
	const cost = costs === undefined ? "" : `, at a cost of about ${costs.toFixed(2)}`;
	return `${asked}${there}: ${sizes}${cost}`;
}

function readable(count: number): string {
	if (count < 10_000) return count.toLocaleString("en");
	return count < 1e6 ? `${Math.round(count / 1000)} thousand` : `${(count / 1e6).toFixed(1)} million`;
}

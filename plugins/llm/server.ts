/** A server that speaks OpenAI's chat completions, as vLLM, llama.cpp, Ollama, LM Studio and many others do. */
import ky, { HTTPError, TimeoutError } from "ky";
import PQueue from "p-queue";
import type { Context, Core } from "saeflow";
import type { Chat } from "./interpreter.ts";
import type { Request } from "./prompts.ts";

export interface ServerSettings {
	/** Up to and including /v1. */
	readonly base_url: string;
	readonly model: string;
	/** Undefined for servers that ask for none. */
	readonly key: string | undefined;
	readonly temperature: number;
	/** Tokens of an answer, at most. */
	readonly max_tokens: number;
	/** Requests at a time. */
	readonly concurrency: number;
	readonly requests_per_minute?: number | undefined;
	/** Seconds for one answer. */
	readonly timeout: number;
	readonly retries: number;
}

/** What servers say of an answer's cost, summed up. */
export interface Usage {
	requests: number;
	promptTokens: number;
	answerTokens: number;
}

interface Completion {
	readonly choices?: readonly { readonly message?: { readonly content?: string | null } }[];
	readonly usage?: { readonly prompt_tokens?: number; readonly completion_tokens?: number };
}

const LONGEST_WAIT = 60_000;

interface Accepted {
	readonly limit: "max_tokens" | "max_completion_tokens";
	readonly temperature: boolean;
}

/** Refusals of one request, which do not speak against the next one: too long, or against a filter. */
const OWN_FAULT = new Set([400, 413, 422]);

export interface Server extends Chat {
	readonly usage: Usage;
}

/**
 * Asks the server, a number of requests at a time; what may pass (429, 5xx, time-outs, lost connections) is tried again,
 * after as long as the server says, or ever longer.
 *
 * @throws SaeError, from `ask`, for what every request would meet: no server, no model of that name, a wrong key.
 */
export function openServer(core: Core, settings: ServerSettings, context: Context): Server {
	const { base_url, model, key, concurrency, requests_per_minute, timeout, retries } = settings;
	const url = `${base_url.replace(/\/+$/, "")}/chat/completions`;
	const queue = new PQueue({
		concurrency,
		...(requests_per_minute && { interval: 60_000 / requests_per_minute, intervalCap: 1 }),
	});
	const stopped = new AbortController();
	const signal = AbortSignal.any([context.signal, stopped.signal]);
	const usage: Usage = { requests: 0, promptTokens: 0, answerTokens: 0 };
	/** Requests that were refused for themselves before any was answered. */
	let refused = 0;
	/** Servers differ in what they take. */
	let accepted: Accepted = { limit: "max_tokens", temperature: true };

	const post = ({ messages }: Request, { limit, temperature }: Accepted): Promise<Completion> =>
		ky
			.post(url, {
				json: {
					model,
					messages,
					[limit]: settings.max_tokens,
					...(temperature && { temperature: settings.temperature }),
				},
				signal,
				timeout: 1000 * timeout,
				headers: key === undefined ? {} : { authorization: `Bearer ${key}` },
				retry: {
					limit: retries,
					methods: ["post"],
					statusCodes: [408, 409, 425, 429, 500, 502, 503, 504, 529],
					afterStatusCodes: [429, 503, 529],
					backoffLimit: LONGEST_WAIT,
					jitter: (delay) => delay * (0.75 + Math.random() / 2),
					retryOnTimeout: true,
				},
			})
			.json<Completion>();

	/** Whether a request that was refused is worth another try, in other words. Several may be refused at once. */
	const adapted = (problem: string, used: Accepted): boolean => {
		if (used.limit === "max_tokens" && /max_completion_tokens/.test(problem)) {
			accepted = { ...accepted, limit: "max_completion_tokens" };
			return true;
		}
		if (!used.temperature || !/temperature/.test(problem)) return false;
		if (accepted.temperature) {
			context.log.warn(`${model} takes no temperature, so answers may differ from run to run`);
		}
		accepted = { ...accepted, temperature: false };
		return true;
	};

	const ask = async (request: Request): Promise<string | undefined> => {
		const used = accepted;
		try {
			const { choices, usage: tokens } = await post(request, used);
			usage.requests++;
			usage.promptTokens += tokens?.prompt_tokens ?? 0;
			usage.answerTokens += tokens?.completion_tokens ?? 0;
			const content = choices?.[0]?.message?.content;
			return typeof content === "string" ? content : undefined;
		} catch (error) {
			signal.throwIfAborted();
			const problem = await problemOf(error);
			if (error instanceof HTTPError && OWN_FAULT.has(error.response.status)) {
				if (adapted(problem, used)) return ask(request);
				// Where nothing was ever answered, nothing will be.
				if (usage.requests > 0 || ++refused <= concurrency) {
					context.log.warn(`a request was refused: ${problem}`);
					return undefined;
				}
			}
			throw new core.SaeError(`${url}: ${problem}`);
		}
	};

	return {
		usage,
		ask: (request) =>
			queue.add(
				() =>
					ask(request).catch((error: unknown) => {
						stopped.abort(error);
						throw error;
					}),
				{ signal },
			),
	};
}

async function problemOf(error: unknown): Promise<string> {
	if (error instanceof TimeoutError) return "no answer in time; allow more with --timeout";
	if (!(error instanceof HTTPError)) {
		const { code, message } = error as Error & { code?: string };
		if (error instanceof SyntaxError) return "the answer is not JSON; is this an OpenAI-compatible server?";
		return `can't be reached (${code ?? message}); is the server running?`;
	}
	const { status } = error.response;
	const said = (await error.response.text().catch(() => "")).trim();
	const words = `${status}${said === "" ? "" : `, ${messageIn(said)}`}`;
	if (status === 401 || status === 403)
		return `the key was refused (${words}); --key-env names the variable it is in`;
	if (status === 404)
		return `not found (${words}); --base-url ends in /v1 with most servers, and --model is a name the server knows`;
	return `the server refused (${words})`;
}

const LONGEST_MESSAGE = 200;

/** What a server says is wrong, in one line. */
function messageIn(body: string): string {
	let message: unknown = body;
	try {
		const { error, detail } = JSON.parse(body);
		message = error?.message ?? error ?? detail ?? body;
	} catch {}
	const text = (typeof message === "string" ? message : JSON.stringify(message)).replace(/\s+/g, " ");
	return text.length > LONGEST_MESSAGE ? `${text.slice(0, LONGEST_MESSAGE)}…` : text;
}

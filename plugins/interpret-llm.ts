/** `sae interpret llm`: a language model behind a server explains latents, and is asked how well explanations do. */
import { createHash } from "node:crypto";
import {
	type Context,
	type Core,
	definePlugin,
	type Interpreter,
	type InterpreterContribution,
	type InterpreterInput,
} from "saeflow";
import type { z } from "zod";
import { describe, estimate } from "./llm/estimate.ts";
import { interpreter, TESTS, type Test } from "./llm/interpreter.ts";
import { openJournal } from "./llm/journal.ts";
import { openServer } from "./llm/server.ts";

export default definePlugin({
	name: "interpret-llm",
	apiVersion: 1,
	contributes: (core) => [llm(core)],
});

function optionsOf(core: Core) {
	const { z } = core;
	return z.object({
		base_url: z
			.url({ protocol: /^https?$/ })
			.meta({ hint: "URL" })
			.describe("OpenAI-compatible server, up to /v1, e.g. http://localhost:11434/v1"),
		model: z.string().min(1).meta({ hint: "NAME" }).describe("Model that is asked, as the server calls it"),
		key_env: z
			.string()
			.min(1)
			.default("OPENAI_API_KEY")
			.meta({ hint: "NAME" })
			.describe("Environment variable that holds the server's key, where it asks for one"),
		tests: listOfTests(core)
			.meta({ hint: "TEST,..." })
			.describe(
				"How explanations are judged. detection: which passages is it active in? fuzzing: are the marked tokens the right ones? intruder (needs no explanation): which passage is not like the others?",
			),
		given: z
			.boolean()
			.default(false)
			.describe("Judge the explanations that the stream has, instead of asking for new ones"),
		shown: z.int().min(1).max(1000).default(20).describe("Passages to explain a latent by, at most"),
		held_out: z
			.int()
			.min(1)
			.max(1000)
			.default(20)
			.describe("Passages in which it is active that judge it, at most, and as many in which it is not"),
		per_question: z.int().min(1).max(100).default(5).describe("Passages to judge in one request"),
		intruders: z.int().min(1).max(1000).default(10).describe("Intruders to find, per latent"),
		seed: z.int().min(0).max(0xffffffff).default(0).describe("Seed of orders, marks and passages"),
		temperature: z.number().min(0).max(2).default(0).describe("Temperature of the answers"),
		max_tokens: z
			.int()
			.min(1)
			.default(2000)
			.describe("Tokens of one answer, at most; models that think at length need more"),
		concurrency: z.int().min(1).max(1000).default(8).describe("Requests at a time"),
		requests_per_minute: z
			.number()
			.positive()
			.optional()
			.meta({ hint: "N" })
			.describe("Requests per minute, at most"),
		timeout: z.number().positive().default(300).meta({ hint: "SECONDS" }).describe("Time for one answer"),
		retries: z
			.int()
			.min(0)
			.max(100)
			.default(6)
			.describe("Further tries, ever longer apart, after a server's error, refusal for now or silence"),
		answers: z
			.string()
			.min(1)
			.optional()
			.meta({ hint: "FILE" })
			.describe(
				"Where answers are kept and looked up, so that a run goes on where it was cut off; by default in the user's cache",
			),
		price: priceOption(core)
			.optional()
			.meta({ hint: "READ,WRITTEN" })
			.describe("Price of a million tokens that the model reads, and that it writes, for the estimate"),
		dry_run: z.boolean().default(false).describe("Say what would be asked for, and stop"),
	});
}

type Options = z.output<ReturnType<typeof optionsOf>>;

function listOfTests({ z }: Core) {
	return z
		.string()
		.default("detection,fuzzing")
		.transform((text, context): Test[] => {
			const words = text.split(",").map((word) => word.trim());
			if (words.every((word) => TESTS.includes(word as Test))) {
				return TESTS.filter((test) => words.includes(test));
			}
			context.addIssue(`must be some of ${TESTS.join(", ")}`);
			return z.NEVER;
		});
}

function priceOption({ z }: Core) {
	return z
		.string()
		.regex(/^\d+(\.\d+)?,\d+(\.\d+)?$/, "must be two numbers, e.g. 0.15,0.60")
		.transform((text) => {
			const [prompt, answer] = text.split(",").map(Number);
			return { prompt: prompt!, answer: answer! };
		});
}

function llm(core: Core): InterpreterContribution<Options> {
	return {
		kind: "interpreter",
		name: "llm",
		summary: "asks a language model behind an OpenAI-compatible server, and has explanations judged",
		options: optionsOf(core),
		open: (input, options, context) => open(core, input, options, context),
	};
}

async function open(
	core: Core,
	input: InterpreterInput,
	options: Options,
	context: Context,
): Promise<Interpreter | undefined> {
	const { base_url, model, temperature, max_tokens } = options;
	const { log } = context;
	const setting = { base_url, model, temperature, max_tokens };
	const path = options.answers ?? core.cachePath("answers", `${fileName(model)}-${hash(setting)}.jsonl`);
	const journal = await openJournal(core, path, setting);
	log.info(describe(await estimate(core, input, options, journal), options.price));
	if (options.dry_run) return undefined;
	log.info(`answers are kept in ${path}`);
	const key = process.env[options.key_env] || undefined;
	const server = openServer(core, { ...options, key }, context);
	return {
		...interpreter(core, journal.through(server), input.pool, options),
		async close() {
			await journal.close();
			const { requests, promptTokens, answerTokens } = server.usage;
			const tokens =
				promptTokens > 0
					? `: ${promptTokens.toLocaleString("en")} tokens read and ${answerTokens.toLocaleString("en")} written`
					: "";
			log.info(`${requests.toLocaleString("en")} requests were answered${tokens}`);
		},
	};
}

function fileName(text: string): string {
	return text.replace(/[^\w.-]+/g, "-");
}

function hash(setting: unknown): string {
	return createHash("sha256").update(JSON.stringify(setting)).digest("hex").slice(0, 12);
}

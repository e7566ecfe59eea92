/** `sae intervene SAE...`: a language model with SAEs spliced in and latents changed. */
import { z } from "zod";
import { usageError } from "../../core/errors.ts";
import { type GivenEdit, parseEdit } from "../../core/model/edits.ts";
import { hookPointsOption, modelOption, skipOption } from "../../core/model/options.ts";
import { textOptions } from "../../core/model/text/input.ts";
import { defineVerb } from "../command.ts";
import { outputOptions, writeOutput } from "../output.ts";

const KINDS = ["ablate", "clamp", "scale", "add"] as const;

const editOption = (what: string, form: string) =>
	z.array(z.string()).default([]).meta({ hint: form }).describe(what);

const interventionOptions = z.object({
	sae: z.array(z.string()).min(1).describe("SAEs, each at a hook point of its own"),
	model: modelOption,
	hook_point: hookPointsOption,
	error: z
		.enum(["keep", "drop"])
		.default("keep")
		.describe("Whether what the SAE leaves unexplained is added again"),
	ablate: editOption("Set a latent to 0: [SAE:]LATENT[@POSITIONS], e.g. 17, or 17@3,8-12,20-", "LATENT"),
	clamp: editOption("Set a latent to a value: LATENT=VALUE[@POSITIONS], as above", "LATENT=VALUE"),
	scale: editOption("Multiply a latent, by a negative number too", "LATENT=FACTOR"),
	add: editOption("Add to a latent", "LATENT=VALUE"),
	active_only: z.boolean().default(false).describe("Change latents only where they are active already"),
	prompt: z
		.array(z.string())
		.default([])
		.meta({ hint: "TEXT" })
		.describe("Text to go on with, with and without the intervention, instead of losses"),
	generate: z.int().min(1).default(32).describe("Tokens to generate"),
	samples: z.int().min(1).default(1).describe("Texts of each prompt"),
	temperature: z
		.number()
		.min(0)
		.default(1)
		.describe("Of the distribution that tokens are drawn from; 0 takes the likeliest"),
	top_k: z.int().min(1).optional().describe("Draw from so many of the likeliest tokens"),
	seed: z.int().min(0).default(0).describe("Seed of what is drawn; the same gives the same text"),
	per_token: z.boolean().default(false).describe("A row for every token instead of means"),
	...textOptions,
	skip: skipOption,
	limit: z.int().min(2).default(4096).describe("Tokens of --text or --tokens to run at most"),
	...outputOptions,
});

export type InterventionOptions = z.output<typeof interventionOptions>;

export default defineVerb({
	name: "intervene",
	summary: "runs a language model with SAEs in it and latents ablated, clamped, scaled or added to",
	details:
		"Gives the losses with and without the intervention on --text or --tokens, row by row with --per-token, or goes " +
		"on with a --prompt. SAEs are numbered from 0 as they are given: 1:17 is latent 17 of the second one.",
	examples: [
		{
			command: "sae intervene my-sae --model openai-community/gpt2 --prompt 'I think' --clamp 17=40 --seed 1",
		},
		{
			command:
				"sae intervene my-sae --model openai-community/gpt2 --text held-out.txt --ablate 17 --per-token",
		},
	],
	positionals: [{ key: "sae", variadic: true }],
	options: interventionOptions,
	async run({ options, context }) {
		const edits = KINDS.flatMap((kind) =>
			options[kind].map((text) => parseEdit(kind, text, options.active_only)),
		);
		checkSaes(edits, options.sae.length);
		const reads = options.text !== undefined || options.tokens !== undefined;
		if (options.prompt.length > 0 && reads)
			throw usageError("give --prompt, or --text or --tokens, not both");
		if (options.prompt.length > 0 && options.per_token) {
			throw usageError("--per-token is about losses; with --prompt there are none");
		}
		const { generatedTexts, lossRows, perTokenRows } = await import("../intervention.ts");
		const rows = options.prompt.length > 0 ? generatedTexts : options.per_token ? perTokenRows : lossRows;
		await writeOutput(await rows(options, edits, context), options, context);
	},
});

function checkSaes(edits: readonly GivenEdit[], saes: number): void {
	const beyond = edits.find(({ sae }) => sae >= saes);
	if (beyond) {
		throw usageError(
			`${beyond.sae}:${beyond.latent}: there ${saes === 1 ? "is one SAE, number 0" : `are SAEs 0 to ${saes - 1}`}`,
		);
	}
}

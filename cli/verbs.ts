/** The verbs of `sae`. A static table, so that `sae --help` loads none of them. */
import type { Verb } from "./command.ts";

export interface VerbEntry {
	readonly summary: string;
	load(): Promise<Verb>;
}

function entry(summary: string, load: () => Promise<{ readonly default: Verb }>): VerbEntry {
	return { summary, load: async () => (await load()).default };
}

export const VERBS: Readonly<Record<string, VerbEntry>> = {
	activations: entry(
		"Read or generate activations, as a stream on stdout",
		() => import("./commands/activations.ts"),
	),
	shard: entry(
		"Write activations to a folder of shards, to be read again and again",
		() => import("./commands/shard.ts"),
	),
	train: entry("Train sparse autoencoders on a stream of activations", () => import("./commands/train.ts")),
	sweep: entry("Train many sparse autoencoders, and compare them", () => import("./commands/sweep.ts")),
	encode: entry("Turn activations into sparse latents", () => import("./commands/encode.ts")),
	decode: entry("Turn latents back into activations", () => import("./commands/decode.ts")),
	eval: entry("Measure how good a sparse autoencoder is", () => import("./commands/eval.ts")),
	search: entry(
		"Find rows by their latents, or by a query whose latents are changed",
		() => import("./commands/search.ts"),
	),
	intervene: entry(
		"Run a language model with latents ablated, clamped or scaled",
		() => import("./commands/intervene.ts"),
	),
	attribute: entry(
		"Show what latents do in a language model, and where they come from",
		() => import("./commands/attribute.ts"),
	),
	features: entry(
		"Collect what there is to know of each latent: examples, statistics, neighbours",
		() => import("./commands/features.ts"),
	),
	interpret: entry(
		"Explain latents, in words or rules, and judge the explanations",
		() => import("./commands/interpret.ts"),
	),
	report: entry(
		"Make a page of latents to look at, or of a table of results",
		() => import("./commands/report.ts"),
	),
	import: entry(
		"Make a native folder of a sparse autoencoder in any known format",
		() => import("./commands/import.ts"),
	),
	export: entry("Write a sparse autoencoder in another format", () => import("./commands/export.ts")),
	inspect: entry("Show what a sparse autoencoder or a stream holds", () => import("./commands/inspect.ts")),
	doctor: entry(
		"Check the GPU or its software stand-in, and say what to do",
		() => import("./commands/doctor.ts"),
	),
	plugin: entry(
		"List the plugins that the verbs can use, or start one of your own",
		() => import("./commands/plugin.ts"),
	),
	plugins: entry("The same; on its own it lists them", () => import("./commands/plugins.ts")),
	completion: entry("Print a completion script for your shell", () => import("./commands/completion.ts")),
};

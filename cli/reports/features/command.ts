/** `sae report features`: the latents of an SAE as a page. */
import { stat } from "node:fs/promises";
import { basename } from "node:path";
import { z } from "zod";
import { stdoutSink } from "../../../core/arrow/stdout.ts";
import { SaeError, usageError } from "../../../core/errors.ts";
import { type Append, writeAtomically } from "../../../core/files/atomic.ts";
import { META } from "../../../core/stream.ts";
import { defineVerb } from "../../command.ts";
import { openInput } from "../../input.ts";

const EMBED = ["auto", "always", "never"] as const;
const MEGABYTE = 1e6;

export default defineVerb({
	name: "report features",
	summary: "a page to look at an SAE's latents, which can also encode text",
	details:
		"One HTML file that fetches nothing and opens from anywhere: an overview, a list that can be searched, and a page for " +
		"each latent with its examples, histogram, logits and neighbours. Columns that the stream has besides, such as " +
		"explanation, are shown too. Where the browser has WebGPU the page also encodes text, with the same kernels as sae: " +
		"small SAEs and language models are put into it, of others it asks for the files. Nothing leaves the browser.",
	examples: [
		{ command: "sae features my-sae acts.arrow | sae report features my-sae --out latents.html" },
		{ command: "sae report features my-sae features.arrow --metrics metrics.arrow --out latents.html" },
	],
	positionals: [{ key: "sae" }, { key: "features" }],
	options: z.object({
		sae: z.string().min(1).describe("The SAE: a folder or file in any known format"),
		features: z
			.string()
			.min(1)
			.default("-")
			.meta({ hint: "FILE" })
			.describe("What sae features writes; stdin by default"),
		out: z
			.string()
			.min(1)
			.optional()
			.meta({ hint: "FILE" })
			.describe("Write to this file, which appears only when it is complete, instead of stdout"),
		title: z.string().optional().describe("Heading of the page; the SAE's name by default"),
		metrics: z
			.string()
			.min(1)
			.optional()
			.meta({ hint: "FILE" })
			.describe("Metrics of the SAE's training (sae train), drawn as curves"),
		top: z.int().min(0).default(20).describe("Examples of the largest activations per latent at most"),
		samples: z.int().min(0).default(20).describe("Other examples per latent at most"),
		context: z
			.int()
			.min(0)
			.default(64)
			.describe("Tokens of an example at most, before its own and after; fewer make the page smaller"),
		map: z
			.enum(["auto", "umap", "pca", "none"])
			.default("auto")
			.describe("Map of the decoder's directions; auto is UMAP for up to 2500 latents and PCA for more"),
		model: z
			.string()
			.min(1)
			.optional()
			.meta({ hint: "FOLDER" })
			.describe(
				"Folder of the language model, to encode text with; what the stream names, if it is a folder",
			),
		hook_point: z
			.string()
			.min(1)
			.optional()
			.meta({ hint: "NAME" })
			.describe("Where in the model the SAE belongs, if neither it nor the stream says so"),
		embed_sae: z
			.enum(EMBED)
			.default("auto")
			.describe("Whether the page holds the SAE's encoder; auto if it is within --embed-limit"),
		embed_model: z
			.enum(EMBED)
			.default("auto")
			.describe("Whether the page holds the model up to the hook point; auto if it is within --embed-limit"),
		embed_limit: z
			.number()
			.min(0)
			.default(8)
			.meta({ hint: "MB" })
			.describe("What either of the two may take at most, in float16, before compression"),
	}),
	async run({ options, context }) {
		const { out } = options;
		if (out === undefined && process.stdout.isTTY) {
			throw usageError("stdout is a terminal: name a file with --out");
		}
		const [{ makePage }, { readTraining }] = await Promise.all([import("./make.ts"), import("./curves.ts")]);
		const stream = await openInput(options.features, ["features"]);
		const sae = await context.loadSae(options.sae);
		const { metrics } = options;
		const training = metrics && (await readTraining(await openInput(metrics, ["metrics"]), metrics));
		const model = options.model ?? stream.schema.metadata.get(META.model);
		const folder = model !== undefined && (await isFolder(model)) ? model : undefined;
		if (options.model !== undefined && folder === undefined) {
			throw new SaeError(`${options.model}: there is no such folder`);
		}
		const job = {
			stream,
			sae,
			saeName: basename(options.sae),
			options: { ...options, embed_limit: options.embed_limit * MEGABYTE },
			training: training || undefined,
			model,
			folder,
			context,
		};
		let bytes = 0;
		const make = async (append: Append) => {
			bytes = await makePage(job, append);
		};
		if (out === undefined) {
			const sink = stdoutSink();
			await make((piece) => sink.write(piece));
		} else await writeAtomically(out, make);
		context.log.info(`${out ?? "the page"} has ${(bytes / MEGABYTE).toFixed(1)} MB`);
	},
});

async function isFolder(path: string): Promise<boolean> {
	return stat(path).then(
		(found) => found.isDirectory(),
		() => false,
	);
}

/** The trainer: Adam over one stream, for one SAE or several, with held-out evaluation and exact resume. */
import { type Context, definePlugin, type RowWidths, type SaeJob, type TrainJob } from "saeflow";
import { trainAll } from "./trainer/loop.ts";
import { memoryOf } from "./trainer/trainee.ts";

export default definePlugin({
	name: "trainer",
	apiVersion: 1,
	contributes(core) {
		const { z } = core;
		const fraction = z.number().min(0).max(1);
		const options = z.object({
			tokens: z
				.int()
				.min(1)
				.optional()
				.describe("Rows to train on; without it the whole stream, at a constant rate"),
			batch_size: z.int().min(1).default(1024).describe("Rows per step"),
			micro_batch_size: z
				.int()
				.min(1)
				.optional()
				.describe("Rows that are computed at a time, for batches that take too much memory; by default all"),
			lr: z.number().positive().optional().describe("Learning rate; by default 1e-3 / sqrt(d_sae / 16384)"),
			warmup: fraction.default(0.05).describe("Share of the run in which the learning rate rises from 0"),
			decay: fraction.default(0.2).describe("Share of the run, at its end, in which it falls to 0"),
			beta1: z.number().min(0).lt(1).default(0.9).describe("Adam's first decay"),
			beta2: z.number().min(0).lt(1).default(0.999).describe("Adam's second decay"),
			epsilon: z.number().positive().default(1e-8).describe("Adam's epsilon"),
			clip: z.number().min(0).default(0).describe("Largest global gradient norm; 0: no clipping"),
			normalize: z
				.enum(["rms", "none"])
				.default("rms")
				.describe(
					"Scale each column to a root mean square norm of 1 (folded into the weights at the end), or not",
				),
			shuffle_buffer: z
				.int()
				.min(0)
				.default(16384)
				.describe("Rows within which the order is shuffled; 0: none"),
			sample_rows: z.int().min(1).default(8192).describe("First rows that set b_dec and the scales"),
			dead_tokens: z
				.int()
				.min(1)
				.optional()
				.describe(
					"Rows without firing after which a latent counts as dead; by default a share of --tokens, at most 10 million",
				),
			seed: z.int().min(0).default(0).describe("Seed of the initial weights and of the shuffle"),
			target_l0: z
				.number()
				.positive()
				.optional()
				.describe(
					"Adjust the sparsity coefficient until so many latents are active per row; where there is one",
				),
			ema: z
				.number()
				.min(0)
				.lt(1)
				.default(0)
				.describe("Save a running mean of the weights with this decay; 0: none"),
			tilt: z
				.number()
				.min(0)
				.default(0)
				.describe("t of tilted empirical risk: rows with a larger loss weigh more; 0: all the same"),
			resample_every: z
				.int()
				.min(0)
				.default(0)
				.describe(
					"Steps between restarts of dead latents from badly explained rows, in the first half; 0: never",
				),
			log_every: z.int().min(1).default(50).describe("Steps between rows of metrics"),
			eval_rows: z
				.int()
				.min(0)
				.default(0)
				.describe("Rows to hold out of training and to evaluate on; whole batches"),
			eval_every: z.int().min(1).default(500).describe("Steps between evaluations on the held-out rows"),
			checkpoint_every: z.int().min(0).default(0).describe("Steps between checkpoints; 0: by time alone"),
			checkpoint_minutes: z
				.number()
				.min(0)
				.default(10)
				.describe("Minutes between checkpoints; 0: by steps alone"),
		});
		return [
			{
				kind: "trainer",
				name: "adam",
				summary: "Adam with warm-up and decay, AuxK bookkeeping, held-out evaluation and exact resume",
				options,
				train: (job: TrainJob, chosen: TrainerOptions, context: Context) =>
					trainAll(core, job, chosen, context),
				memory: (sae: SaeJob, widths: RowWidths, chosen: TrainerOptions, context: Context) =>
					memoryOf(core, sae, widths, chosen, context),
			},
		];
	},
});

/** The validated options, as the schema above gives them. */
export interface TrainerOptions {
	readonly tokens?: number | undefined;
	readonly batch_size: number;
	readonly micro_batch_size?: number | undefined;
	readonly lr?: number | undefined;
	readonly warmup: number;
	readonly decay: number;
	readonly beta1: number;
	readonly beta2: number;
	readonly epsilon: number;
	readonly clip: number;
	readonly normalize: "rms" | "none";
	readonly shuffle_buffer: number;
	readonly sample_rows: number;
	readonly dead_tokens?: number | undefined;
	readonly seed: number;
	readonly target_l0?: number | undefined;
	readonly ema: number;
	readonly tilt: number;
	readonly resample_every: number;
	readonly log_every: number;
	readonly eval_rows: number;
	readonly eval_every: number;
	readonly checkpoint_every: number;
	readonly checkpoint_minutes: number;
}

/** `sae shard`: a stream of activations becomes a folder of shards. */
import { z } from "zod";
import { SHARD_DTYPES } from "../../core/shards/convert.ts";
import { defineVerb } from "../command.ts";
import { inputOption, openInput } from "../input.ts";

export default defineVerb({
	name: "shard",
	summary: "writes a stream of activations to a folder of shards with checksums",
	details:
		"The shards are Arrow files, and manifest.json says what they hold. `sae activations file DIR` reads the folder, " +
		"shuffled across its shards if wanted, and several folders as one. How much will be written is said before, and " +
		"must fit on the disk. Whatever interrupts it, the shards that are complete stay, and --resume goes on after them.",
	examples: [
		{
			command:
				"sae activations transformer gpt2 --hook-point blocks.6.hook_resid_post --text corpus.jsonl | sae shard --dtype f16 --out cache",
		},
		{
			command: "sae activations file cache --shuffle-buffer 262144 --epochs 4 | sae train topk --out my-sae",
		},
		{ command: "sae activations file acts.npy --shard 3/8 | sae shard --out parts/3" },
	],
	positionals: [{ key: "input" }],
	options: z.object({
		input: inputOption,
		out: z.string().min(1).meta({ hint: "DIR" }).describe("The folder, which must be new or empty"),
		dtype: z
			.enum(SHARD_DTYPES)
			.optional()
			.describe("Numbers of the vectors; by default as they come. f16 takes half the room of f32"),
		rows_per_shard: z.int().min(1).optional().describe("Rows of a shard, instead of --shard-size"),
		shard_size: z
			.number()
			.positive()
			.default(256e6)
			.meta({ hint: "BYTES" })
			.describe("Bytes of a shard, about, e.g. 1G"),
		resume: z
			.boolean()
			.default(false)
			.describe(
				"Go on with the folder after what an interrupted command left; if it is complete, do nothing",
			),
	}),
	async run({ options, context }) {
		const { dtype, rows_per_shard: rowsPerShard, shard_size: shardSize, resume } = options;
		const [{ writeShards }, stream] = await Promise.all([
			import("../../core/shards/write.ts"),
			openInput(options.input, ["activations"]),
		]);
		await writeShards(stream, options.out, { dtype, rowsPerShard, shardSize, resume }, context);
	},
});

/**
 * A features stream in the forms that Neuronpedia takes: the folder that its bulk import reads, or the batch files of
 * SAEDashboard.
 */
import { join } from "node:path";
import { type Core, definePlugin, type SaeModel } from "saeflow";
import { bulkFiles } from "./neuronpedia/bulk.ts";
import { dashboardFiles } from "./neuronpedia/dashboard.ts";
import { exportFeatures } from "./neuronpedia/export.ts";
import { type Given, namesOf } from "./neuronpedia/names.ts";

interface Options extends Given {
	readonly features: string;
	readonly form: "bulk" | "dashboard";
	readonly vectors: boolean;
}

export default definePlugin({
	name: "neuronpedia",
	apiVersion: 1,
	contributes(core) {
		return [
			{
				kind: "exporter",
				name: "neuronpedia",
				summary: "an SAE's features, for Neuronpedia's bulk import or as SAEDashboard's batch files",
				options: optionsOf(core),
				write: (model: SaeModel, path: string, options: Options) => write(core, model, path, options),
			},
		];
	},
});

function optionsOf({ z }: Core) {
	const text = (hint: string) => z.string().min(1).meta({ hint });
	return z.object({
		features: text("FILE").describe("Features stream of this SAE, with explanations or not"),
		form: z
			.enum(["bulk", "dashboard"])
			.default("bulk")
			.describe("bulk: OUT/MODEL/SOURCE for the bulk import; dashboard: batch-N.json there"),
		model_id: text("ID").optional().describe("Neuronpedia's id of the model; by default the stream's model"),
		layer: z.int().min(0).optional().describe("Layer; by default that of the stream's hook point"),
		source_set: text("NAME")
			.regex(/^[\w.-]+$/)
			.optional()
			.describe("Name of the source set; by default made of hook point and size, e.g. saeflow-res-16k"),
		release: text("NAME").optional().describe("Name of the release; by default that of the source set"),
		description: z.string().default("").describe("What the release is, in a sentence"),
		creator: text("NAME").default("unknown").describe("Who made the SAE"),
		creator_id: text("ID").optional().describe("Id of that user in the database; by default the name"),
		url: z.string().default("").describe("Where the release is described"),
		hf_repo: text("OWNER/NAME").optional().describe("Repository of the SAE's weights"),
		hf_folder: text("FOLDER").optional().describe("Folder of the weights in it"),
		dataset: z.string().default("").describe("Name of the text that the statistics are over"),
		prompt_tokens: z
			.int()
			.min(1)
			.optional()
			.describe("Tokens in each prompt of that text; by default the longest context in the stream"),
		vectors: z.boolean().default(false).describe("Also write decoder rows, for steering"),
		explanation_models: z
			.boolean()
			.default(false)
			.describe(
				"Give each explanation's source as its model: only for a database that has models of these names",
			),
		created: z.iso
			.datetime()
			.default(() => new Date().toISOString())
			.meta({ hint: "DATE" })
			.describe("Time of creation, ISO 8601; now by default"),
	});
}

async function write(core: Core, model: SaeModel, path: string, options: Options): Promise<void> {
	const stream = await core.openArrow(options.features);
	const names = namesOf(core, stream.schema.metadata, model, options);
	const files = options.form === "bulk" ? bulkFiles(names) : dashboardFiles(names);
	await exportFeatures(core, {
		path: join(path, names.modelId, names.sourceId),
		stream,
		model,
		files,
		withVectors: options.vectors,
	});
}

/** `sae inspect PATH`: what an SAE, a folder of SAEs, a file of arrays or an Arrow stream holds. */
import { stat } from "node:fs/promises";
import { z } from "zod";
import { isSaeError } from "../../core/errors.ts";
import type { ImporterContribution } from "../../core/plugin.ts";
import type { SaeModel } from "../../core/sae.ts";
import { defineVerb } from "../command.ts";
import { registry } from "../plugins.ts";
import { printText } from "../stdout.ts";

export default defineVerb({
	name: "inspect",
	summary: "shows what a sparse autoencoder, a folder of them, or a file of arrays holds",
	details:
		"Says which library's format it is, by its content, the architecture, shapes, the step before the encoder, and what " +
		"is missing. Files of PyTorch are read as data: nothing in them is run.",
	examples: [
		{ command: "sae inspect my-sae" },
		{ command: "sae inspect downloads/pythia-70m", note: "a folder of many SAEs: which there are" },
		{ command: "sae inspect acts.arrow --json | jq .columns" },
	],
	positionals: [{ key: "path" }],
	options: z.object({
		path: z
			.string()
			.min(1)
			.describe("An SAE, a folder of SAEs, a file of arrays, or an Arrow stream or file"),
		json: z.boolean().default(false).describe("Print JSON instead of text"),
	}),
	async run({ options }) {
		const facts = await factsOf(options.path);
		await printText(options.json ? `${JSON.stringify(facts, null, 2)}\n` : asText(facts));
	},
});

type Facts = Readonly<Record<string, unknown>>;

async function factsOf(path: string): Promise<Facts> {
	const { recogniser, importerOf, folderOf, saesIn } = await import("../../core/load.ts");
	const known = await recogniser(path, registry).catch((error) => {
		if (isSaeError(error)) return undefined;
		throw error;
	});
	const status = await stat(path).catch(() => undefined);
	if (known) {
		return saeFacts(known, path).catch((error) => unreadFacts(path, status?.isFile() === true, error));
	}
	if (status?.isFile()) {
		const arrays = await arrayFacts(path);
		const folder = arrays && (await folderOf(path, registry));
		return folder === undefined ? (arrays ?? arrowFacts(path)) : { ...arrays, part_of: folder };
	}
	const { found, complete } = status ? await saesIn(path, registry) : { found: [], complete: true };
	// Says that there is nothing, or nothing that is known.
	if (found.length === 0) return saeFacts(await importerOf(path, registry), path);
	const saes = Object.fromEntries(found.map((sae) => [sae.path, sae.format]));
	return { format: "folder of SAEs", count: found.length, ...(complete ? {} : { complete }), saes };
}

async function saeFacts(importer: ImporterContribution, path: string): Promise<Facts> {
	const { tensors, settings, metadata, ...description } = await importer.read(path);
	const shapes = Object.entries(tensors).map(([name, { shape }]) => [name, `[${shape.join(", ")}]`]);
	return {
		format: importer.name,
		...description,
		...missing(description),
		settings,
		tensors: Object.fromEntries(shapes),
		metadata,
	};
}

function missing({ normalize_activations }: Pick<SaeModel, "normalize_activations">): Facts {
	if (normalize_activations !== "expected_average_only_in") return {};
	return {
		missing: "the number that training multiplied its rows by; sae import --input-scale folds it in",
	};
}

/** Of a file that looks like an SAE and can't be read as one: its arrays, and why. */
async function unreadFacts(path: string, isFile: boolean, error: unknown): Promise<Facts> {
	const arrays = isFile && isSaeError(error) ? await arrayFacts(path).catch(() => undefined) : undefined;
	if (!arrays) throw error;
	return { ...arrays, missing: (error as Error).message.replace(`${path}: `, "") };
}

/** Of a file of arrays that is no SAE; undefined for what is none. */
async function arrayFacts(path: string): Promise<Facts | undefined> {
	const [{ openFile }, { detectFormat, openTensorFile }] = await Promise.all([
		import("../../core/files/bytes.ts"),
		import("../../core/files/open.ts"),
	]);
	const bytes = await openFile(path);
	const format = await detectFormat(bytes).finally(() => bytes.close());
	if (format === "arrow") return undefined;
	const file = await openTensorFile(path);
	await file.close();
	const arrays = [...file.tensors.values()].map(({ name, dtype, shape }) => [
		name,
		`${dtype} [${shape.join(", ")}]`,
	]);
	return { format: file.format, arrays: Object.fromEntries(arrays), metadata: file.metadata };
}

async function arrowFacts(path: string): Promise<Facts> {
	const { scanArrow } = await import("../../core/arrow/reader.ts");
	const { schema, rows } = await scanArrow(path);
	const columns = schema.fields.map(({ name, type }) => [name, String(type)]);
	return {
		format: "arrow",
		rows,
		columns: Object.fromEntries(columns),
		metadata: Object.fromEntries(schema.metadata),
	};
}

function asText(facts: Facts, indent = ""): string {
	const width = Math.max(...Object.keys(facts).map((key) => key.length));
	return Object.entries(facts)
		.map(([key, value]) => {
			if (typeof value !== "object" || value === null || Array.isArray(value)) {
				const text = typeof value === "string" ? value : JSON.stringify(value);
				return `${indent}${key.padEnd(width)}  ${text}\n`;
			}
			return Object.keys(value).length === 0
				? ""
				: `${indent}${key}\n${asText(value as Facts, `${indent}  `)}`;
		})
		.join("");
}

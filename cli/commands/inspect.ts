/** `sae inspect PATH`: what an SAE or an Arrow stream holds. */
import { stat } from "node:fs/promises";
import { z } from "zod";
import { defineVerb } from "../command.ts";
import { registry } from "../plugins.ts";
import { printText } from "../stdout.ts";

export default defineVerb({
	name: "inspect",
	summary: "shows what a sparse autoencoder or an Arrow file holds",
	examples: [{ command: "sae inspect my-sae" }, { command: "sae inspect acts.arrow --json | jq .columns" }],
	positionals: [{ key: "path" }],
	options: z.object({
		path: z.string().min(1).describe("An SAE, or an Arrow stream or file"),
		json: z.boolean().default(false).describe("Print JSON instead of text"),
	}),
	async run({ options }) {
		const facts = (await isArrow(options.path))
			? await arrowFacts(options.path)
			: await saeFacts(options.path);
		await printText(options.json ? `${JSON.stringify(facts, null, 2)}\n` : asText(facts));
	},
});

type Facts = Readonly<Record<string, unknown>>;

/** Anything but a folder is taken for Arrow unless an importer knows it. */
async function isArrow(path: string): Promise<boolean> {
	if (
		!(await stat(path).then(
			(status) => status.isFile(),
			() => false,
		))
	)
		return false;
	const importers = await registry.all("importer");
	const known = await Promise.all(importers.map((importer) => importer.detect(path)));
	return !known.includes(true);
}

async function saeFacts(path: string): Promise<Facts> {
	const { importerOf } = await import("../../core/load.ts");
	const importer = await importerOf(path, registry);
	const { tensors, settings, metadata, ...description } = await importer.read(path);
	const shapes = Object.entries(tensors).map(([name, { shape }]) => [name, `[${shape.join(", ")}]`]);
	return { format: importer.name, ...description, settings, tensors: Object.fromEntries(shapes), metadata };
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

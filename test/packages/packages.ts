/** Plugin packages in folders, for tests. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** A source whose every row is [7, 7]; loading it leaves a trace, where `trace` names a file. */
export const SEVENS = `
import { appendFileSync } from "node:fs";
import { definePlugin } from "saeflow";
if (process.env.TRACE) appendFileSync(process.env.TRACE, "loaded\\n");
export default definePlugin({
	name: "sevens",
	apiVersion: 1,
	contributes: ({ z, activationsSchema, activationsBatch }) => ["sevens", "file"].map((name) => ({
		kind: "source",
		name,
		summary: "rows of sevens",
		options: z.object({ rows: z.int().default(2).describe("How many sevens") }),
		async open({ rows }: { rows: number }) {
			const schema = activationsSchema({ width: 2, type: "float32" });
			return {
				schema,
				async *batches(start: number) {
					const data = new Float32Array(2 * (rows - start)).fill(7);
					yield activationsBatch(schema, { data, rows: rows - start, width: 2, type: "float32" }, {}, start);
				},
			};
		},
	})),
});
`;

export interface PackageFiles {
	/** Merged over a sound package.json; undefined removes a key. */
	readonly json?: Readonly<Record<string, unknown>>;
	/** Instead of a package.json made of `json`. */
	readonly text?: string;
	readonly source?: string;
}

/** Writes a package that provides `source:sevens` into `folder` and returns its path. */
export async function writePackage(
	folder: string,
	name: string,
	{ json = {}, text, source = SEVENS }: PackageFiles = {},
): Promise<string> {
	const path = join(folder, name);
	await mkdir(path, { recursive: true });
	const sound = {
		name,
		version: "1.2.3",
		description: "Sevens",
		type: "module",
		exports: "./index.ts",
		sae: { apiVersion: 1, provides: ["source:sevens"] },
	};
	await writeFile(join(path, "package.json"), text ?? JSON.stringify({ ...sound, ...json }));
	await writeFile(join(path, "index.ts"), source);
	return path;
}

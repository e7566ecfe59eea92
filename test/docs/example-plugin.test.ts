/** The example of docs/plugins.md does what it says, registered as the page says. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { withBuiltIn } from "../../core/built-in.ts";
import { openTensorFile } from "../../core/files/open.ts";
import { readFloat32 } from "../../core/files/safetensors.ts";
import { train } from "../../core/train-saes.ts";
import { context, rowsFrom } from "../plugins/sources.ts";

const registry = await withBuiltIn([
	{
		name: "example",
		provides: ["source:numbers", "architecture:plain-topk", "exporter:dictionary"],
		load: () => import("../../docs/example-plugin.ts"),
	},
]);

let folder: string;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-example-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function openNumbers(text: string) {
	const path = join(folder, "rows.txt");
	await writeFile(path, text);
	const source = (await registry.find("source", "numbers"))!;
	return source.open(source.options.parse({ path, d_in: 3 }), context);
}

test("the source reads rows from any one on, and names a line that is wrong", async () => {
	const source = await openNumbers("1 2 3\n4,5,6\n7 8 9\n");
	expect(await rowsFrom(source)).toEqual([
		[1, 2, 3],
		[4, 5, 6],
		[7, 8, 9],
	]);
	expect(await rowsFrom(source, 2)).toEqual([[7, 8, 9]]);
	await expect(rowsFrom(await openNumbers("1 2 3\n4 5\n"))).rejects.toThrow("line 2 has 2 numbers, not 3");
});

test("the architecture trains, and the exporter writes its decoder", async () => {
	const lines = Array.from({ length: 300 }, (_, i) => [0, 1, 2].map((j) => Math.sin(i * i + j)).join(" "));
	const source = await openNumbers(`${lines.join("\n")}\n`);
	const [sae] = await train({
		registry,
		stream: { schema: source.schema, batches: source.batches(0) },
		saes: [{ architecture: "plain-topk", d_sae: 8, options: { k: 2 } }],
		options: { batch_size: 100, shuffle_buffer: 0 },
	});
	expect(sae).toMatchObject({ architecture: "plain-topk", d_in: 3, d_sae: 8, settings: { k: 2 } });
	const exporter = (await registry.find("exporter", "dictionary"))!;
	const path = join(folder, "dictionary.safetensors");
	await exporter.write(sae!, path, {});
	const file = await openTensorFile(path);
	expect(file.tensors.get("W_dec")!.shape).toEqual([8, 3]);
	expect(await readFloat32(file, "W_dec")).toEqual(sae!.tensors.W_dec!.data);
	await file.close();
});

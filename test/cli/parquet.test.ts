/** Parquet as the output of a command, by ending and by name. */
import { expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { asyncBufferFromFile, parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { shell } from "./sae.ts";

test("a command writes Parquet to a file and through a pipe", async () => {
	const folder = await mkdtemp(join(tmpdir(), "sae-parquet-"));
	try {
		const source = "sae activations synthetic --d-in 3 --rows 5";
		const { stderr, exitCode } = await shell(
			`cd ${folder} && ${source} --out a.parquet && ${source} --format parquet | cat > b.parquet && ${source} --out c.json`,
		);
		expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
		expect(await readdir(folder)).toEqual(expect.arrayContaining(["a.parquet", "b.parquet", "c.json"]));
		const lines = (await Bun.file(join(folder, "c.json")).text()).trim().split("\n");
		const expected = lines.map((line) => JSON.parse(line).activation);
		for (const name of ["a.parquet", "b.parquet"]) {
			const rows = await parquetReadObjects({
				file: await asyncBufferFromFile(join(folder, name)),
				compressors,
			});
			expect(rows.map(({ activation }) => Array.from(activation))).toEqual(expected);
		}
	} finally {
		await rm(folder, { recursive: true });
	}
});

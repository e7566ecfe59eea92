/** Reads an Arrow stream on stdin with so many threads; prints what came, or the error. */
import { readArrowStdin } from "../../core/arrow/reader.ts";
import { readRows } from "../../core/rows.ts";

const [threads, most] = process.argv.slice(2).map(Number);
const hash = new Bun.CryptoHasher("sha256");
let rows = 0;
try {
	const batches = readRows(await readArrowStdin(), {
		columns: ["b", "a"],
		targets: ["a"],
		layers: "layer",
		batchSize: 6,
		shuffleBlock: 16,
		threads: threads!,
	});
	for await (const batch of batches) {
		for (const part of [batch.data, batch.targets!.data, batch.layers!]) hash.update(part);
		rows += batch.rows;
		if (rows >= most!) break;
	}
	console.log(rows, hash.digest("hex"));
} catch (error) {
	console.log((error as Error).message);
}
process.exit(0);

/** Where verbs that read a stream get it from. */
import { z } from "zod";
import { columnNames } from "../core/columns.ts";
import { SaeError, usageError } from "../core/errors.ts";
import { META, type RecordStream, type StreamKind } from "../core/stream.ts";

/** The option that names a stream, for a verb's `positionals`. */
export const inputOption = z
	.string()
	.min(1)
	.default("-")
	.meta({ hint: "FILE" })
	.describe("Arrow stream or file to read; stdin by default");

/** The options that name columns to train on. */
export const columnOptions = {
	column: columnNames
		.optional()
		.meta({ hint: "NAME,..." })
		.describe("Columns of vectors to train on, side by side; by default `activation` or the only one"),
	target: columnNames
		.optional()
		.meta({ hint: "NAME,..." })
		.describe("Columns to reconstruct, of architectures whose targets may be others than the inputs"),
};

/** The option that names rows to evaluate on while training. */
export const evaluationOption = z
	.string()
	.min(1)
	.optional()
	.meta({ hint: "FILE" })
	.describe("Arrow file of other rows to evaluate on, instead of --eval-rows held out");

/**
 * The stream of a file, or of stdin for `-`.
 * @param kinds what the verb can use. A stream that does not say what it is, e.g. one from pyarrow, is accepted.
 */
export async function openInput(path: string, kinds: readonly StreamKind[]): Promise<RecordStream> {
	const wanted = kinds.join(" or ");
	if (path === "-" && process.stdin.isTTY) {
		throw usageError(`stdin is a terminal: pipe a stream of ${wanted} in, or name an Arrow file`);
	}
	const { openArrow } = await import("../core/arrow/reader.ts");
	const stream = await openArrow(path);
	const kind = stream.schema.metadata.get(META.kind);
	if (kind !== undefined && !kinds.includes(kind as StreamKind)) {
		throw new SaeError(`${path === "-" ? "stdin" : path}: is a stream of ${kind}, but ${wanted} are needed`);
	}
	return stream;
}

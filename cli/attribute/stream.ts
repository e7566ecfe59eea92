/** Streams of what is attributed. */
import { type Field, Schema } from "apache-arrow";
import type { Context } from "../../core/plugin.ts";
import { META, STREAM_VERSION } from "../../core/stream.ts";

/** Columns with what they are of: rows of `kind`, about a language model. */
export function schemaOf(
	kind: "metrics" | "features",
	fields: readonly Field[],
	model: string,
	{ command }: Context,
): Schema {
	const metadata = {
		[META.kind]: kind,
		[META.version]: STREAM_VERSION,
		[META.model]: model,
		[META.command]: command,
	};
	return new Schema([...fields], new Map(Object.entries(metadata)));
}

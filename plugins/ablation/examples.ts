/** Labelled examples of a whole stream. */
import type { RecordBatch } from "apache-arrow";
import type { Context, Core, RecordStream, SaeModel } from "saeflow";
import { encoded, type PassOptions } from "../evaluation/encoded.ts";
import { type Example, Examples, textColumn } from "../probing/examples.ts";

/** Each row by itself or, with `group`, the mean over neighbours of one group. */
export async function readExamples(
	core: Core,
	model: SaeModel,
	stream: RecordStream,
	options: PassOptions & { readonly group?: string | undefined },
	context: Context,
	labelsOf: (batch: RecordBatch) => string[],
): Promise<readonly Example[]> {
	const examples = new Examples(core, model.d_in);
	for await (const { batch, inputs, codes } of encoded(core, model, stream, options, context)) {
		const groups = options.group === undefined ? undefined : textColumn(core, batch, options.group);
		examples.add(labelsOf(batch), groups, inputs, codes);
	}
	examples.finish();
	return examples.all;
}

/** Streams through an SAE: activations to latents and back. The rows' other columns pass through untouched. */
import { type Field, type RecordBatch, Schema } from "apache-arrow";
import { vectorData, vectorField } from "./arrow/activations.ts";
import { makeBatch } from "./arrow/batch.ts";
import { codesOf, latentsBatch, latentsSchema } from "./arrow/codes.ts";
import { isSaeError, SaeError } from "./errors.ts";
import { firstNonFinite } from "./finite.ts";
import { overlapped } from "./overlap.ts";
import type { SaeRuntime } from "./runtime.ts";
import { type Codes, needsInputs, type SaeModel } from "./sae.ts";
import { layerScales, type SaeReader, type SaeShape, saeReader, scaled } from "./sae-rows.ts";
import { commandsAfter, META, type RecordStream, STREAM_VERSION } from "./stream.ts";

type Encoder = Pick<SaeRuntime, "encode">;
type Decoder = Pick<SaeRuntime, "decode">;
type Sae = SaeShape & Pick<SaeModel, "d_sae" | "normalize_activations">;

export interface EncodeOptions {
	/** Columns of vectors to encode, side by side; by default those of the SAE's metadata, or the only one there is. */
	readonly columns?: readonly string[] | undefined;
	/** Whether they stay in the stream. */
	readonly keepActivations?: boolean;
	/** The command that does this, for the stream's provenance. */
	readonly command?: string;
}

/**
 * Encodes every row of an activations stream.
 *
 * @throws SaeError when the column is missing, not as wide as the SAE, or holds NaN or infinity.
 * @example
 * const latents = encodeStream(activations, sae, await openSae(sae));
 * for await (const batch of latents.batches) console.log(batch.numRows);
 */
export function encodeStream(
	stream: RecordStream,
	sae: Sae,
	encoder: Encoder,
	options: EncodeOptions = {},
): RecordStream {
	const reader = saeReader(stream.schema, sae, { columns: options.columns });
	const kept = (name: string) => options.keepActivations || !reader.inputs.includes(name);
	const others = stream.schema.fields.filter(({ name }) => kept(name));
	refuseColumn(others, "latents", "drop it first");
	const schema = latentsSchema(others, provenance(stream.schema, others, options.command));
	const encode = async (batch: RecordBatch, taken?: () => void) => {
		const { inputs, rows } = reader.read(batch);
		return latentsBatch(schema, await encoder.encode(inputs, rows, taken), batch);
	};
	const keeps = others.some(({ name }) => reader.inputs.includes(name));
	return { schema, batches: keeps ? oneByOne(stream.batches, encode) : overlapped(stream.batches, encode) };
}

/** For rows that go on as they are: whoever made them may use their memory again once the next ones are asked for. */
async function* oneByOne(
	batches: AsyncIterable<RecordBatch>,
	work: (batch: RecordBatch) => Promise<RecordBatch>,
): AsyncGenerator<RecordBatch> {
	for await (const batch of batches) yield await work(batch);
}

export interface DecodeOptions {
	/** Name of the column of reconstructions. */
	readonly column?: string;
	readonly command?: string;
}

/**
 * Decodes every row of a latents stream to float32 activations. An SAE with a skip connection, or that normalises every
 * row by itself, needs the rows that were encoded as columns beside the latents.
 *
 * @throws SaeError when it is not one, lacks those rows, or holds latents that the SAE doesn't have.
 * @example
 * const reconstructions = decodeStream(latents, sae, runtime, { column: "reconstruction" });
 */
export function decodeStream(
	stream: RecordStream,
	sae: Sae,
	decoder: Decoder,
	{ column = "activation", command }: DecodeOptions = {},
): RecordStream {
	const { d_out = sae.d_in } = sae;
	const others = stream.schema.fields.filter(({ name }) => name !== "latents");
	if (others.length === stream.schema.fields.length) {
		throw new SaeError("the stream has no column latents; `sae encode` makes one");
	}
	refuseColumn(others, column, "name the reconstructions with --column");
	const field = vectorField(column, d_out, "float32");
	const metadata = provenance(stream.schema, others, command);
	const widths = { ...JSON.parse(metadata.get(META.width) ?? "{}"), [column]: d_out };
	metadata
		.set(META.kind, "activations")
		.set(META.version, STREAM_VERSION)
		.set(META.width, JSON.stringify(widths));
	const schema = new Schema([field, ...others], metadata);
	const inputs = needsInputs(sae) ? inputsOf(stream.schema, sae) : undefined;
	return { schema, batches: decodeBatches(stream.batches, schema, sae, decoder, inputs) };
}

function inputsOf(schema: Schema, sae: Sae): SaeReader {
	try {
		return saeReader(schema, sae);
	} catch (error) {
		if (!isSaeError(error)) throw error;
		throw new SaeError(
			`decoding with this SAE needs the rows that were encoded, which sae encode --keep-activations keeps: ${error.message}`,
		);
	}
}

function decodeBatches(
	batches: AsyncIterable<RecordBatch>,
	schema: Schema,
	sae: Sae,
	decoder: Decoder,
	inputs: SaeReader | undefined,
): AsyncGenerator<RecordBatch> {
	const { d_in, d_out = d_in, d_sae } = sae;
	let row = 0;
	const [field, ...others] = schema.fields as [Field, ...Field[]];
	return overlapped(batches, async (batch, taken) => {
		const codes = codesOf(batch);
		checkCodes(codes, d_sae);
		const scales = layerScales(sae, batch, row);
		row += codes.rows;
		const decoding = decoder.decode(codes, inputs?.read(batch).inputs);
		// Batches of latents are not used again by who made them.
		taken();
		const decoded = await decoding;
		const data = scales ? scaled(decoded, scales, (value, scale) => value / scale) : decoded;
		const vectors = vectorData(field, { data, rows: codes.rows, width: d_out, type: "float32" });
		const passed = others.map(({ name }) => {
			const index = batch.schema.fields.findIndex((candidate) => candidate.name === name);
			return batch.data.children[index]!;
		});
		return makeBatch(schema, codes.rows, [vectors, ...passed], new Map(batch.metadata));
	});
}

export function checkCodes({ index, value }: Codes, d_sae: number): void {
	const foreign = index.find((latent) => latent >= d_sae);
	if (foreign !== undefined) {
		throw new SaeError(
			`column latents: names latent ${foreign}, this SAE has ${d_sae}; was it another that encoded?`,
		);
	}
	if (firstNonFinite(value) >= 0) throw new SaeError("column latents: holds NaN or infinity");
}

function refuseColumn(fields: readonly Field[], name: string, remedy: string): void {
	if (fields.some((field) => field.name === name)) {
		throw new SaeError(`the stream has a column ${name} already; ${remedy}`);
	}
}

/** The stream's metadata, without widths of columns that are gone, and with `command` after those before it. */
function provenance(
	{ metadata }: Schema,
	kept: readonly Field[],
	command: string | undefined,
): Map<string, string> {
	const result = new Map(metadata);
	const widths = Object.entries(parseWidths(metadata.get(META.width)));
	const remaining = widths.filter(([name]) => kept.some((field) => field.name === name));
	if (remaining.length > 0) result.set(META.width, JSON.stringify(Object.fromEntries(remaining)));
	else result.delete(META.width);
	const commands = commandsAfter(metadata, command);
	if (commands !== undefined) result.set(META.command, commands);
	return result;
}

/** The metadata may come from any program; what isn't an object of widths says nothing. */
function parseWidths(text: string | undefined): Record<string, unknown> {
	try {
		const widths: unknown = JSON.parse(text ?? "{}");
		return typeof widths === "object" && widths !== null ? (widths as Record<string, unknown>) : {};
	} catch {
		return {};
	}
}

/** SAEs of several columns, and of several layers, on streams. */
import { describe, expect, test } from "bun:test";
import { Field, type RecordBatch, Schema, Uint16, vectorFromArray } from "apache-arrow";
import { vectorData, vectorField } from "../../core/arrow/activations.ts";
import { makeBatch } from "../../core/arrow/batch.ts";
import { codesOf } from "../../core/arrow/codes.ts";
import { vectorColumn } from "../../core/arrow/vectors.ts";
import { decodeStream, encodeStream } from "../../core/latents.ts";
import type { SaeModel } from "../../core/sae.ts";
import { saeReader } from "../../core/sae-rows.ts";
import type { RecordStream } from "../../core/stream.ts";
import { referenceRuntime } from "../reference/context.ts";
import { randomStream, randomTensor, randomTopK } from "../reference/models.ts";
import { decode, encodeTopK } from "../reference/topk.ts";

const ROWS = 12;
const WIDTHS = { a: 2, b: 3, c: 5 } as const;
type Name = keyof typeof WIDTHS;
const columns = Object.fromEntries(
	Object.entries(WIDTHS).map(([name, width], i) => [name, randomTensor([ROWS, width], randomStream(i)).data]),
) as Record<Name, Float32Array>;
const LAYERS = Array.from({ length: ROWS }, (_, row) => [2, 0, 2, 5][row % 4]!);

/** The columns of these names, and `layer`, in batches of five rows. */
function stream(names: readonly Name[], layers = LAYERS): RecordStream {
	const fields = names.map((name) => vectorField(name, WIDTHS[name], "float32"));
	const schema = new Schema([...fields, new Field("layer", new Uint16(), false)]);
	async function* batches(): AsyncGenerator<RecordBatch> {
		for (let first = 0; first < ROWS; first += 5) {
			const rows = Math.min(5, ROWS - first);
			const vectors = names.map((name, i) => {
				const width = WIDTHS[name];
				const data = columns[name].subarray(first * width, (first + rows) * width);
				return vectorData(fields[i]!, { data, rows, width, type: "float32" });
			});
			const own = vectorFromArray(layers.slice(first, first + rows), new Uint16()).data[0]!;
			yield makeBatch(schema, rows, [...vectors, own]);
		}
	}
	return { schema, batches: batches() };
}

function beside(...names: Name[]): Float32Array {
	const rows = Array.from({ length: ROWS }, (_, row) =>
		names.flatMap((name) => [...columns[name].subarray(row * WIDTHS[name], (row + 1) * WIDTHS[name])]),
	);
	return Float32Array.from(rows.flat());
}

const allCodes = async (encoded: RecordStream) =>
	(await Array.fromAsync(encoded.batches)).map((batch) => codesOf(batch));
const fields = ({ schema }: RecordStream) => schema.fields.map(({ name }) => name);
const K = 2;

describe("an SAE of several columns", () => {
	const sae: SaeModel = { ...randomTopK(5, 9, K), metadata: { input_columns: ["b", "a"] } };
	const runtime = referenceRuntime(sae, K);

	test("encodes them side by side, in its own order", async () => {
		const encoded = encodeStream(stream(["a", "b", "c"]), sae, runtime);
		expect(fields(encoded)).toEqual(["latents", "c", "layer"]);
		const codes = await allCodes(encoded);
		expect(codes[1]).toEqual(encodeTopK(sae, beside("b", "a").subarray(25, 50), 5, K));
	});

	test("takes others that are named, and refuses those of other widths", async () => {
		const one = await allCodes(encodeStream(stream(["a", "b", "c"]), sae, runtime, { columns: ["c"] }));
		expect(one[0]).toEqual(encodeTopK(sae, columns.c.subarray(0, 25), 5, K));
		const wide = encodeStream(stream(["b", "c"]), sae, runtime, { columns: ["b", "c"] });
		await expect(allCodes(wide)).rejects.toThrow(
			"columns b, c: have vectors of 3 + 5 values, this SAE takes 5",
		);
		expect(() => encodeStream(stream(["a"]), sae, runtime)).toThrow("no column b");
	});

	test("names the column and the row of a value that is not finite", async () => {
		columns.a[2 * 7 + 1] = Number.NaN;
		const broken = encodeStream(stream(["a", "b"]), sae, runtime);
		await expect(allCodes(broken)).rejects.toThrow("column a: row 7 holds NaN or infinity (value 1)");
		columns.a[2 * 7 + 1] = 0.5;
	});
});

test("an SAE of one column takes the only one there is, whatever its name", async () => {
	const sae = { ...randomTopK(5, 9, K), metadata: { input_columns: ["activation"] } };
	expect(saeReader(stream(["c"]).schema, sae).inputs).toEqual(["c"]);
	expect(() => saeReader(stream(["a", "c"]).schema, sae)).toThrow("several columns hold vectors (a, c)");
	const known = { ...sae, metadata: { input_columns: ["c"] } };
	expect(saeReader(stream(["a", "c"]).schema, known).inputs).toEqual(["c"]);
	const odd = { ...sae, metadata: { input_columns: "c", target_columns: [1] } };
	expect(saeReader(stream(["c"]).schema, odd)).toMatchObject({ inputs: ["c"], targets: ["c"] });
});

test("targets are other columns where the SAE was trained on them", async () => {
	const sae = { ...randomTopK(5, 9, K), metadata: { input_columns: ["c"], target_columns: ["a", "b"] } };
	const reader = saeReader(stream(["a", "b", "c"]).schema, sae);
	const [batch] = await Array.fromAsync(stream(["a", "b", "c"]).batches);
	const { inputs, targets } = reader.read(batch!);
	expect(inputs).toEqual(columns.c.subarray(0, 25));
	expect(targets()).toEqual(beside("a", "b").subarray(0, 25));
	expect(reader.targetWidths).toEqual([2, 3]);
	// Encoding needs none of them.
	const encoded = encodeStream(stream(["c"]), sae, referenceRuntime(sae, K));
	expect(await allCodes(encoded)).toHaveLength(3);
	const missing = saeReader(stream(["c"]).schema, sae).read(
		(await Array.fromAsync(stream(["c"]).batches))[0]!,
	);
	expect(() => missing.targets()).toThrow("no column a");
});

test("another library's transcoder is compared with no column but one that is named", async () => {
	const { schema, batches } = stream(["a"]);
	const { value: batch } = await batches[Symbol.asyncIterator]().next();
	const sae = { ...randomTopK(2, 6, 2), architecture: "transcoder", metadata: { hook_name_out: "mlp.out" } };
	const unsaid = saeReader(schema, sae).read(batch!);
	expect(unsaid.inputs.length).toBe(10);
	expect(() => unsaid.targets()).toThrow("this transcoder reconstructs mlp.out; name the column");
	expect(
		saeReader(schema, sae, { targets: ["a"] })
			.read(batch!)
			.targets().length,
	).toBe(10);
	const own = { ...sae, metadata: { input_columns: ["a"] } };
	expect(saeReader(schema, own).read(batch!).targets().length).toBe(10);
});

describe("an SAE of several layers", () => {
	const plain = randomTopK(5, 9, K);
	const layer_scale = { shape: [6], data: Float32Array.of(0.5, 0, 4, 0, 0, 0.125) };
	const sae: SaeModel = {
		...plain,
		metadata: { layers: "layer" },
		tensors: { ...plain.tensors, layer_scale },
	};
	const runtime = referenceRuntime(sae, K);
	const scaleOf = (row: number) => layer_scale.data[LAYERS[row]!]!;
	// Powers of two, so that nothing is rounded.
	const scaled = columns.c.map((value, i) => value * scaleOf(Math.floor(i / 5)));

	test("encodes rows times their layer's scale, and divides its reconstructions by it", async () => {
		const expected = encodeTopK(sae, scaled, ROWS, K);
		const codes = await allCodes(encodeStream(stream(["c"]), sae, runtime));
		expect(codes.flatMap(({ index }) => [...index])).toEqual([...expected.index]);
		expect(codes.flatMap(({ value }) => [...value])).toEqual([...expected.value]);
		const decoded = decodeStream(encodeStream(stream(["c"]), sae, runtime), sae, runtime);
		expect(fields(decoded)).toEqual(["activation", "layer"]);
		const rows = (await Array.fromAsync(decoded.batches)).flatMap((batch) => [
			...(vectorColumn(batch, "activation").data as Float32Array),
		]);
		const wanted = Float32Array.from(decode(sae, expected)).map(
			(value, i) => value / scaleOf(Math.floor(i / 5)),
		);
		expect(rows).toEqual([...wanted]);
	});

	test("needs to know the layer of each row", async () => {
		const layers = LAYERS.with(8, 3);
		await expect(allCodes(encodeStream(stream(["c"], layers), sae, runtime))).rejects.toThrow(
			"column layer: row 8 is of layer 3, but this SAE was trained on layers 0, 2, 5",
		);
		const elsewhere = { ...sae, metadata: { layers: "depth" } };
		await expect(allCodes(encodeStream(stream(["c"]), elsewhere, runtime))).rejects.toThrow(
			"no column depth",
		);
	});
});

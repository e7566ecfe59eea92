import { describe, expect, test } from "bun:test";
import { type RecordBatch, Schema } from "apache-arrow";
import { activationsBatch, activationsSchema } from "../../core/arrow/activations.ts";
import { codesOf, latentsBatch, latentsSchema } from "../../core/arrow/codes.ts";
import { vectorColumn } from "../../core/arrow/vectors.ts";
import { decodeStream, encodeStream } from "../../core/latents.ts";
import type { SaeRuntime } from "../../core/runtime.ts";
import { META, type RecordStream } from "../../core/stream.ts";
import { randomStream, randomTensor, randomTopK } from "../reference/models.ts";
import { decode, encodeTopK } from "../reference/topk.ts";

const D_IN = 4;
const K = 2;
const sae = randomTopK(D_IN, 9, K);
const runtime: Pick<SaeRuntime, "encode" | "decode"> = {
	encode: async (data, rows) => encodeTopK(sae, data, rows, K),
	decode: async (codes) => Float32Array.from(decode(sae, codes)),
};
const x = randomTensor([5, D_IN], randomStream(2)).data;

function activations(
	metadata: Record<string, string> = { [META.command]: "sae activations file a.npy" },
): RecordStream {
	const schema = activationsSchema({ width: D_IN, type: "float32", columns: ["token"], metadata });
	const batch = (from: number, to: number) => {
		const vectors = {
			data: x.slice(from * D_IN, to * D_IN),
			rows: to - from,
			width: D_IN,
			type: "float32" as const,
		};
		const token = Uint32Array.from({ length: to - from }, (_, i) => 100 + from + i);
		return activationsBatch(schema, vectors, { token }, 40 + from);
	};
	return { schema, batches: each(batch(0, 3), batch(3, 3), batch(3, 5)) };
}

async function* each(...batches: RecordBatch[]): AsyncGenerator<RecordBatch> {
	yield* batches;
}

const names = ({ schema }: RecordStream) => schema.fields.map((field) => field.name);

describe("encodeStream", () => {
	test("replaces activations by latents and keeps the rest of each row, the cursors and where it comes from", async () => {
		const stream = encodeStream(activations(), sae, runtime, { command: "sae encode SAE" });
		expect(names(stream)).toEqual(["latents", "token"]);
		expect(stream.schema.metadata.get(META.kind)).toBe("latents");
		expect(stream.schema.metadata.get(META.command)).toBe("sae activations file a.npy | sae encode SAE");
		expect(stream.schema.metadata.has(META.width)).toBe(false);
		const batches = await Array.fromAsync(stream.batches);
		expect(batches.map((batch) => batch.numRows)).toEqual([3, 0, 2]);
		expect(batches.map((batch) => batch.metadata.get(META.cursor))).toEqual(["40", "43", "43"]);
		expect(Array.from(batches[2]!.getChild("token")!)).toEqual([103, 104]);
		expect(codesOf(batches[2]!)).toEqual(encodeTopK(sae, x.subarray(3 * D_IN), 2, K));
	});

	test("can keep the activations", async () => {
		const stream = encodeStream(activations(), sae, runtime, { keepActivations: true });
		expect(names(stream)).toEqual(["latents", "activation", "token"]);
		expect(stream.schema.metadata.get(META.width)).toBe(`{"activation":${D_IN}}`);
		const [first] = await Array.fromAsync(stream.batches);
		expect(vectorColumn(first!, "activation").data).toEqual(x.subarray(0, 3 * D_IN));
	});

	test("refuses what the SAE can't encode", async () => {
		const { schema, batches } = activations();
		expect(() => encodeStream({ schema, batches }, sae, runtime, { columns: ["nowhere"] })).toThrow(
			"no column nowhere",
		);
		const narrow = encodeStream(activations(), { ...sae, d_in: 3 }, runtime);
		await expect(Array.fromAsync(narrow.batches)).rejects.toThrow(
			"has vectors of 4 values, this SAE takes 3",
		);
		const encoded = encodeStream(activations(), sae, runtime, { keepActivations: true });
		expect(() => encodeStream(encoded, sae, runtime)).toThrow("has a column latents already");
	});

	test("names the row that holds NaN", async () => {
		const stream = activations();
		x[4 * D_IN] = Number.NaN;
		const broken = activations();
		x[4 * D_IN] = 0;
		expect(await Array.fromAsync(encodeStream(stream, sae, runtime).batches)).toHaveLength(3);
		await expect(Array.fromAsync(encodeStream(broken, sae, runtime).batches)).rejects.toThrow(
			"row 4 holds NaN",
		);
	});
});

describe("decodeStream", () => {
	test("gives the reconstructions of what was encoded", async () => {
		const encoded = encodeStream(activations(), sae, runtime, { command: "sae encode SAE" });
		const stream = decodeStream(encoded, sae, runtime, { command: "sae decode SAE" });
		expect(names(stream)).toEqual(["activation", "token"]);
		expect(stream.schema.metadata.get(META.kind)).toBe("activations");
		expect(stream.schema.metadata.get(META.width)).toBe(`{"activation":${D_IN}}`);
		expect(stream.schema.metadata.get(META.command)).toEndWith("| sae encode SAE | sae decode SAE");
		const batches = await Array.fromAsync(stream.batches);
		expect(batches.map((batch) => batch.metadata.get(META.cursor))).toEqual(["40", "43", "43"]);
		const rows = batches.flatMap((batch) =>
			Array.from(vectorColumn(batch, "activation").data as Float32Array),
		);
		expect(rows).toEqual(Array.from(await runtime.decode(encodeTopK(sae, x, 5, K))));
		expect(batches.flatMap((batch) => Array.from(batch.getChild("token")!))).toEqual([
			100, 101, 102, 103, 104,
		]);
	});

	test("sits beside the activations under another name", async () => {
		const encoded = () => encodeStream(activations(), sae, runtime, { keepActivations: true });
		expect(() => decodeStream(encoded(), sae, runtime)).toThrow("name the reconstructions with --column");
		const stream = decodeStream(encoded(), sae, runtime, { column: "reconstruction" });
		expect(names(stream)).toEqual(["reconstruction", "activation", "token"]);
		expect(JSON.parse(stream.schema.metadata.get(META.width)!)).toEqual({
			reconstruction: D_IN,
			activation: D_IN,
		});
	});

	test("refuses latents that the SAE doesn't have, and values that aren't finite", async () => {
		const latents = (index: number, value: number): RecordStream => {
			const schema = latentsSchema();
			const codes = {
				rows: 1,
				offsets: Uint32Array.of(0, 1),
				index: Uint32Array.of(index),
				value: Float32Array.of(value),
			};
			return { schema, batches: each(latentsBatch(schema, codes)) };
		};
		const run = (stream: RecordStream) => Array.fromAsync(decodeStream(stream, sae, runtime).batches);
		expect(await run(latents(8, 1))).toHaveLength(1);
		await expect(run(latents(9, 1))).rejects.toThrow("names latent 9, this SAE has 9");
		await expect(run(latents(8, Number.NaN))).rejects.toThrow("NaN or infinity");
		expect(() => run(activations())).toThrow("has no column latents");
	});

	test("takes other programs' metadata as it is", () => {
		const { schema, batches } = activations();
		const odd = new Schema(schema.fields, new Map([[META.width, "not JSON"]]));
		expect(encodeStream({ schema: odd, batches }, sae, runtime).schema.metadata.has(META.width)).toBe(false);
	});
});

import { describe, expect, test } from "bun:test";
import type { RecordBatch } from "apache-arrow";
import { core } from "../../core/api.ts";
import { activationsBatch, activationsSchema, type RowColumn } from "../../core/arrow/activations.ts";
import type { RowsEvaluatorContribution } from "../../core/plugin.ts";
import type { RecordStream } from "../../core/stream.ts";
import layerDistance from "../../plugins/eval-layer-distance.ts";
import { referenceContext } from "../reference/context.ts";
import { randomStream } from "../reference/models.ts";

const [evaluator] = layerDistance.contributes(core) as [RowsEvaluatorContribution];
const WIDTH = 16;
const TOKENS = 400;
/** The number of each layer, and by what angle its rows are turned from a token's own direction. */
const TURNED = new Map([
	[0, 0],
	[1, 0.1],
	[4, 0.2],
	[6, 1],
	[7, 1.1],
]);
const LAYERS = [...TURNED.keys()];

/** Two vectors per token, orthogonal and of one length, without a mean. */
const planes = (() => {
	const random = randomStream(1);
	const gauss = () => Array.from({ length: WIDTH }, () => random() + random() + random() - 1.5);
	return Array.from({ length: TOKENS }, () => {
		const u = gauss();
		const w = gauss();
		const uu = u.reduce((sum, value) => sum + value * value, 0);
		const along = u.reduce((sum, value, i) => sum + value * w[i]!, 0) / uu;
		const v = w.map((value, i) => value - along * u[i]!);
		const scale = Math.sqrt(uu / v.reduce((sum, value) => sum + value * value, 0));
		return [u, v.map((value) => value * scale)] as const;
	});
})();

/** A row of a layer: the token's turned vector, as loud as the layer is, about a centre of the layer's own. */
function rowOf(layer: number, token: number): number[] {
	const [u, v] = planes[token]!;
	const angle = TURNED.get(layer)!;
	return u.map((value, i) => (1 + layer) * (Math.cos(angle) * value + Math.sin(angle) * v[i]!) + 5 * layer);
}

type Row = readonly [layer: number, token: number];

/** Token t is at position t mod 10 of document t div 10. */
function stream(rows: readonly Row[], columns: readonly RowColumn[] = ["layer"]): RecordStream {
	const schema = activationsSchema({ width: WIDTH, type: "float32", columns });
	async function* batches(): AsyncGenerator<RecordBatch> {
		for (let at = 0; at < rows.length; at += 100) {
			const some = rows.slice(at, at + 100);
			const data = Float32Array.from(some.flatMap(([layer, token]) => rowOf(layer, token)));
			const all = {
				layer: Uint16Array.from(some, ([layer]) => layer),
				document: Uint32Array.from(some, ([, token]) => Math.floor(token / 10)),
				position: Uint32Array.from(some, ([, token]) => token % 10),
			};
			const vectors = { data, rows: some.length, width: WIDTH, type: "float32" as const };
			yield activationsBatch(schema, vectors, all, at);
		}
	}
	return { schema, batches: batches() };
}

const interleaved = Array.from({ length: TOKENS }, (_, token) =>
	LAYERS.map((layer): Row => [layer, token]),
).flat();
const evaluate = (input: RecordStream, options: Record<string, unknown> = {}) =>
	evaluator.evaluate({ stream: input }, evaluator.options.parse(options), referenceContext());

describe("eval layer-distance", () => {
	test("finds the angles between layers, whatever their centres and norms, and groups them", async () => {
		const rows = await evaluate(stream(interleaved));
		const pairs = rows.filter(({ groups }) => groups === null);
		expect(pairs).toHaveLength(10);
		for (const { layers, distance } of pairs) {
			const [a, b] = String(layers).split(" ").map(Number);
			const turn = Math.abs(TURNED.get(a!)! - TURNED.get(b!)!);
			expect(Math.abs(Number(distance) - turn / Math.PI)).toBeLessThan(0.01);
		}
		const two = rows.filter(({ groups }) => groups === 2);
		expect(two.map(({ layers }) => layers)).toEqual(["0 1 4", "6 7"]);
		expect(Math.abs(Number(two[0]!.distance) - 0.2 / Math.PI)).toBeLessThan(0.01);
		expect(Math.abs(Number(two[0]!.amad) - 0.15 / Math.PI)).toBeLessThan(0.01);
		expect(rows.filter(({ suggested }) => suggested === 1).map(({ groups }) => groups)).toEqual([2, 2]);
	});

	test("suggests more groups below a lower threshold, and one below a high one", async () => {
		const suggested = async (threshold: number) =>
			(await evaluate(stream(interleaved), { threshold })).filter((row) => row.suggested === 1);
		expect((await suggested(0.01)).map(({ layers }) => layers)).not.toContain("0 1 4");
		expect((await suggested(0.5)).map(({ layers }) => layers)).toEqual(["0 1 4 6 7"]);
	});

	test("rows belong together by document and position, or else by their order in each layer", async () => {
		const expected = await evaluate(stream(interleaved), { tokens: TOKENS });
		const byLayer = LAYERS.flatMap((layer) => interleaved.filter(([own]) => own === layer));
		expect(await evaluate(stream(byLayer))).toEqual(expected);
		const backwards = byLayer.toReversed();
		const placed = await evaluate(stream(backwards, ["document", "position", "layer"]));
		for (const [i, { layers, distance }] of placed.entries()) {
			expect(layers).toBe(expected[i]!.layers!);
			expect(Math.abs(Number(distance) - Number(expected[i]!.distance))).toBeLessThan(1e-6);
		}
	});

	test("leaves out tokens that a layer lacks, and takes no more than it is told to", async () => {
		const lacking = interleaved.filter(([layer, token]) => layer !== 4 || token % 3 > 0);
		const rows = await evaluate(stream(lacking, ["document", "position", "layer"]));
		const between = rows.find(({ layers }) => layers === "4 6")!;
		expect(Math.abs(Number(between.distance) - 0.8 / Math.PI)).toBeLessThan(0.01);
		expect(await evaluate(stream(interleaved), { tokens: 50 })).toEqual(
			await evaluate(stream(interleaved.slice(0, 50 * LAYERS.length))),
		);
	});

	test("refuses streams without layers to compare", async () => {
		await expect(evaluate(stream(interleaved, []))).rejects.toThrow("the stream has no column layer");
		const one = interleaved.filter(([layer]) => layer === 6);
		await expect(evaluate(stream(one))).rejects.toThrow("the stream has layers 6, with 400 tokens in common");
		await expect(evaluate(stream([]))).rejects.toThrow("the stream has layers none");
	});
});

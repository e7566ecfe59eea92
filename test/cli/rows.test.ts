import { expect, test } from "bun:test";
import {
	Field,
	FixedSizeList,
	Float32,
	List,
	makeData,
	Schema,
	Struct,
	Uint32,
	vectorFromArray,
} from "apache-arrow";
import { rowFormatter } from "../../cli/rows.ts";
import { makeBatch } from "../../core/arrow/batch.ts";
import { tableBatch, tableSchema } from "../../core/arrow/metrics.ts";

const metrics = tableSchema({ sae: "string", step: "number", loss: "number" });
const batch = tableBatch(metrics, [
	{ sae: 'a "b", c', step: 1, loss: 0.123456789 },
	{ sae: "second", step: 20, loss: null },
]);

function format(kind: "json" | "csv" | "table", from = 0, to = 2): string {
	const formatter = rowFormatter(kind);
	return formatter.header(metrics) + formatter.rows(batch, from, to);
}

test("json lines keep types and nulls", () => {
	expect(format("json")).toBe(
		'{"sae":"a \\"b\\", c","step":1,"loss":0.123456789}\n{"sae":"second","step":20,"loss":null}\n',
	);
});

test("csv quotes what needs it", () => {
	expect(format("csv")).toBe('sae,step,loss\n"a ""b"", c",1,0.123456789\nsecond,20,\n');
});

test("a table aligns numbers to the right, and later rows to the first ones", () => {
	const formatter = rowFormatter("table");
	const first = formatter.header(metrics) + formatter.rows(batch, 0, 1);
	expect(first).toBe('sae              step         loss\na "b", c            1     0.123457\n');
	expect(formatter.rows(batch, 1, 2)).toBe("second             20            -\n");
});

test("vectors and latents are shown by their beginning", () => {
	const vector = new Field("activation", new FixedSizeList(100, new Field("item", new Float32())));
	const entry = new Struct([new Field("index", new Uint32()), new Field("value", new Float32())]);
	const latents = new Field("latents", new List(new Field("item", entry)));
	const values = makeData({ type: new Float32(), length: 100, data: new Float32Array(100).fill(0.5) });
	const codes = vectorFromArray([[{ index: 7, value: 1.5 }]], latents.type).data[0]!;
	const schema = new Schema([vector, latents]);
	const row = makeBatch(schema, 1, [makeData({ type: vector.type, length: 1, child: values }), codes]);
	const formatter = rowFormatter("table");
	formatter.header(schema);
	expect(formatter.rows(row, 0, 1).split("\n")[1]).toMatch(/^0\.500 0\.500 .* … \(100\) +7:1\.50$/);
	expect(JSON.parse(rowFormatter("json").rows(row, 0, 1))).toEqual({
		activation: Array(100).fill(0.5),
		latents: [{ index: 7, value: 1.5 }],
	});
});

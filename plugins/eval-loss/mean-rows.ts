/** The mean of the rows of hook points, in the pass as it is. */
import type { HookPoint, HookValue, PassTokens, Transformer } from "saeflow";

/** By hook point, [width]. Sums are float64. */
export async function meanRows(
	model: Transformer,
	passes: AsyncIterable<PassTokens>,
	points: readonly HookPoint[],
	counted: (pass: PassTokens) => (row: number) => boolean,
	signal: AbortSignal,
): Promise<ReadonlyMap<string, Float32Array>> {
	const sums = new Map(points.map(({ name, width }) => [name, new Float64Array(width)]));
	let rows = 0;
	for await (const pass of passes) {
		signal.throwIfAborted();
		const counts = counted(pass);
		rows += pass.tokens.reduce((sum, _, row) => sum + (counts(row) ? 1 : 0), 0);
		const add = async (value: HookValue) =>
			addRows(sums.get(value.point.name)!, await model.read(value), counts);
		await model.run(pass, new Map(points.map(({ name }) => [name, add])));
	}
	return new Map([...sums].map(([name, sum]) => [name, Float32Array.from(sum, (value) => value / rows)]));
}

function addRows(sum: Float64Array, data: Float32Array, counts: (row: number) => boolean): void {
	for (let row = 0; row * sum.length < data.length; row++) {
		if (!counts(row)) continue;
		for (let i = 0; i < sum.length; i++) sum[i]! += data[row * sum.length + i]!;
	}
}

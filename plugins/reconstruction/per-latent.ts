import type { Core, SaeModel } from "saeflow";
import type { Activity } from "./activity.ts";

/** Writes one row per latent: how often it fired, how strongly, and the norm of its decoder row. */
export async function writeLatents(
	path: string,
	model: SaeModel,
	activity: Activity,
	core: Core,
): Promise<void> {
	const { d_in, d_out = d_in, d_sae } = model;
	const W_dec = model.tensors.W_dec!.data;
	const rows = Array.from({ length: d_sae }, (_, latent) => {
		const fired = activity.fired[latent]!;
		return {
			latent,
			fired,
			density: fired / activity.rows,
			/** Over the rows that it fired on. */
			mean_activation: fired === 0 ? null : activity.sum[latent]! / fired,
			max_activation: fired === 0 ? null : activity.max[latent]!,
			decoder_norm: norm(W_dec.subarray(latent * d_out, (latent + 1) * d_out)),
		};
	});
	const schema = core.tableSchema(core.columnTypes(rows), "features", { "sae.rows": String(activity.rows) });
	await core.writeArrowFile({ schema, batches: once(core.tableBatch(schema, rows)) }, path);
}

async function* once<T>(value: T): AsyncGenerator<T> {
	yield value;
}

function norm(values: Float32Array): number {
	let square = 0;
	for (const value of values) square += value * value;
	return Math.sqrt(square);
}

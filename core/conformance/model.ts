/** What every SAE in memory must be, and whether two are the same. */
import { firstNonFinite } from "../finite.ts";
import type { SaeModel } from "../sae.ts";
import { type Bench, toyRows } from "./bench.ts";
import { check } from "./check.ts";

/** @throws Error where the SAE is not sound: sizes, shapes, values. `origin` begins the complaint. */
export function checkModel(model: SaeModel, origin: string): void {
	const { d_in, d_sae, d_out = d_in, tensors } = model;
	for (const [name, size] of Object.entries({ d_in, d_out, d_sae })) {
		check(Number.isInteger(size) && size > 0, `${origin}: ${name} is ${size}`);
	}
	check(
		typeof model.architecture === "string" && model.architecture !== "",
		`${origin}: names no architecture`,
	);
	for (const [name, { shape, data }] of Object.entries(tensors)) {
		const length = shape.reduce((product, size) => product * size, 1);
		const values = data instanceof Float32Array ? data.length : "no float32";
		check(values === length, `${origin}: ${name} has the shape [${shape.join(", ")}] but ${values} values`);
		check(firstNonFinite(data) < 0, `${origin}: ${name} holds NaN or infinity`);
	}
	const expected = { W_dec: [d_sae, d_out], b_dec: [d_out] };
	for (const [name, shape] of Object.entries(expected)) {
		const found = tensors[name]?.shape.join(", ") ?? "none";
		check(
			found === shape.join(", "),
			`${origin}: ${name} must have the shape [${shape.join(", ")}], not [${found}]`,
		);
	}
}

/**
 * The two SAEs must give the same codes for the same rows: exactly for a tolerance of 0, else with reconstructions that
 * differ by at most that share of the largest value.
 */
export async function checkSameCodes(
	{ run }: Bench,
	[before, after]: readonly [SaeModel, SaeModel],
	tolerance: number,
	complaint: string,
): Promise<void> {
	const data = toyRows(64, before.d_in, 3);
	const [first, second] = [await run(before, data), await run(after, data)];
	if (tolerance === 0) {
		for (const part of ["offsets", "index", "value"] as const) {
			const [a, b] = [first.codes[part], second.codes[part]];
			const at = a.findIndex((value, i) => value !== b[i]);
			check(
				at < 0 && a.length === b.length,
				`${complaint}: codes differ (${part}: ${a.length} and ${b.length} of them, at ${at} ${a[at]} and ${b[at]})`,
			);
		}
	}
	const largest = first.decoded.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
	const farthest = first.decoded.reduce(
		(most, value, i) => Math.max(most, Math.abs(value - second.decoded[i]!)),
		0,
	);
	check(
		farthest <= tolerance * largest,
		`${complaint}: reconstructions differ by up to ${farthest}, where the largest value is ${largest}`,
	);
}

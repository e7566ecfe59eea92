/** Queries whose latents are changed before the search. */
import { editCodes, type LatentEdit } from "../model/edits.ts";
import type { SaeRuntime } from "../runtime.ts";
import type { Codes } from "../sae.ts";
import type { Latents } from "./score.ts";

/**
 * The codes of one row after the edits, of which as many stay as there were before: those that are largest by magnitude,
 * the lower latent of equal ones. There is room for what was edited in any case.
 */
export function steerCodes(codes: Codes, edits: readonly LatentEdit[]): Codes {
	const edited = editCodes(codes, edits, [0]);
	const most = Math.max(codes.index.length, new Set(edits.map(({ latent }) => latent)).size);
	const size = edited.value.map(Math.abs);
	const kept = Array.from(size.keys())
		.sort((a, b) => size[b]! - size[a]! || a - b)
		.slice(0, most)
		.sort((a, b) => a - b);
	return {
		rows: 1,
		offsets: Uint32Array.of(0, kept.length),
		index: Uint32Array.from(kept, (entry) => edited.index[entry]!),
		value: Float32Array.from(kept, (entry) => edited.value[entry]!),
	};
}

/**
 * What codes `after` decode to, in the space of the query [d_in], of which `before` are the codes.
 *
 * @param error Whether what the SAE leaves unexplained of the query is added again: then a query whose codes did not
 *   change stays what it is.
 */
export async function steerVector(
	runtime: Pick<SaeRuntime, "decode">,
	query: Float32Array,
	before: Codes,
	after: Codes,
	error: "keep" | "drop",
): Promise<Float32Array> {
	const steered = await runtime.decode(after, query);
	if (error === "drop") return steered;
	const known = await runtime.decode(before, query);
	return query.map((value, i) => value + steered[i]! - known[i]!);
}

/** The activations of one row. */
export function latentsOf({ index, value }: Codes): Latents {
	return new Map(Array.from(index, (latent, entry) => [latent, value[entry]!]));
}

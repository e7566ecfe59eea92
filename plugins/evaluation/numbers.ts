/** Options that are lists of numbers. */
import type { Core } from "saeflow";
import type { z } from "zod";

/** One number or more, each an `item`: `1,2,5` in words, or an array in a run file. */
export function numberList({ z }: Core, item: z.ZodInt) {
	return z.preprocess(
		(given) => (typeof given === "string" ? given.split(",").map(Number) : given),
		z.array(item).min(1),
	);
}

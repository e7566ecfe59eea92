/** How options name columns. */
import { z } from "zod";

/** The column with the number of the layer that a row is of. */
export const LAYER_COLUMN = "layer";

/** Names of columns, as an option: `a,b` in words, or an array in a run file. */
export const columnNames = z.preprocess(
	(given) => (typeof given === "string" ? given.split(",") : given),
	z.array(z.string().min(1)).min(1),
);

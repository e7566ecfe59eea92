/** Which layers see only the last keys. */
import { z } from "zod";
import { SaeError } from "../../errors.ts";

export const layerTypes = z.array(
	z.enum(["full_attention", "sliding_attention"], "must be full_attention or sliding_attention"),
);

/** Each layer's window, 0 for none: by `types` where config.json lists them, else by the family's rule. */
export function windowsOf(
	layers: number,
	window: number,
	types: z.infer<typeof layerTypes> | null | undefined,
	slides: (layer: number) => boolean,
): number[] {
	if (types && types.length < layers) {
		throw new SaeError(`layer_types: lists ${types.length} layers of ${layers}`);
	}
	return Array.from({ length: layers }, (_, layer) =>
		(types ? types[layer] === "sliding_attention" : slides(layer)) ? window : 0,
	);
}

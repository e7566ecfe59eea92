import type { Core, SaeModel } from "saeflow";

/**
 * For what puts decoder rows and directions of the input side by side.
 *
 * @param what is done to them, for the message.
 * @throws SaeError for SAEs whose latents do not add up to what they encode.
 */
export function checkAdditive({ SaeError }: Core, model: SaeModel, what: string): void {
	const { architecture, d_in, d_out = d_in, metadata, normalize_activations: normalised } = model;
	const others = architecture === "transcoder" || metadata.target_columns !== undefined;
	if (d_out === d_in && !others && normalised === "none") return;
	const why =
		d_out !== d_in
			? "reconstructs another width"
			: others
				? "reconstructs something else than it encodes"
				: "normalises every row by its own numbers";
	throw new SaeError(`${what}, but this SAE ${why}`);
}

/** What is done where a probe on rows is watched while latents go. */
export const TAKES_OUT = "latents are taken out of the rows that are encoded";

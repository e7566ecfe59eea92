/** What formats can't hold, and why. */
import type { Core, SaeModel } from "saeflow";

/** A format, as its refusals call it. */
export interface Format {
	/** E.g. `sparsify`. */
	readonly name: string;
	/** Names of the architectures in memory that it has. */
	readonly architectures: readonly string[];
	/** Whether targets may be others than the inputs. */
	readonly targets: boolean;
}

/** @throws SaeError with the reason, for an SAE that the format has no place for. */
export function refuseForeign({ SaeError }: Core, model: SaeModel, path: string, format: Format): void {
	const { architecture, normalize_activations, d_in, d_out = d_in, tensors } = model;
	const refuse = (reason: string) =>
		new SaeError(`${path}: ${format.name} ${reason}; sae export native keeps it`);
	if (!format.architectures.includes(architecture)) {
		throw refuse(
			`has no architecture that encodes as ${architecture} does (it has ${format.architectures.join(", ")})`,
		);
	}
	if (normalize_activations !== "none") {
		throw refuse(`has no place for the input step ${normalize_activations}`);
	}
	if (tensors.layer_scale) throw refuse("has no scales for the rows of layers");
	if (!format.targets && (d_out !== d_in || tensors.W_skip)) {
		throw refuse("reconstructs the input alone, and this SAE reconstructs something else");
	}
}

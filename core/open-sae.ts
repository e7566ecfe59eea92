/** From an SAE in memory to one that runs on the GPU. */
import { builtIn } from "./built-in.ts";
import { SaeError, usageError } from "./errors.ts";
import type { Gpu } from "./gpu/device.ts";
import type { Registry } from "./registry.ts";
import type { SaeRuntime } from "./runtime.ts";
import type { SaeModel } from "./sae.ts";

export interface OpenSaeOptions {
	/** Latents to keep per row, instead of as many as the SAE was trained with. */
	readonly k?: number | undefined;
	/** By default one is opened and closed with the SAE. */
	readonly gpu?: Gpu;
	/** Where to look for the architecture; by default among those that come with saeflow. */
	readonly registry?: Registry;
}

/**
 * Puts an SAE on the GPU, ready to encode and decode.
 *
 * @throws SaeError when no plugin knows its architecture; a device error when there is no GPU or too little memory.
 * @example
 * const runtime = await openSae(await loadSae("runs/topk"));
 * const codes = await runtime.encode(activations, rows); // float32 [rows, d_in]
 * const reconstructions = await runtime.decode(codes);
 * runtime.close();
 */
export async function openSae(model: SaeModel, options: OpenSaeOptions = {}): Promise<SaeRuntime> {
	const { k } = options;
	const architecture = await (options.registry ?? (await builtIn())).find("architecture", model.architecture);
	if (!architecture) {
		throw new SaeError(`no plugin can run the architecture "${model.architecture}"; install one that does`);
	}
	if (k !== undefined && !(Number.isInteger(k) && k >= 1 && k <= model.d_sae)) {
		throw usageError(`k has to be a whole number from 1 to d_sae (${model.d_sae}), not ${k}`);
	}
	const spec = architecture.inference(model, k === undefined ? {} : { k });
	// Loaded here, for most uses of this package need no GPU.
	const { openRuntime } = await import("./runtime.ts");
	if (options.gpu) return openRuntime(options.gpu, model, spec);
	const { openGpu } = await import("./gpu/device.ts");
	const gpu = await openGpu();
	const runtime = await openRuntime(gpu, model, spec).catch((error) => {
		gpu.close();
		throw error;
	});
	return {
		d_in: model.d_in,
		d_out: runtime.d_out,
		d_sae: model.d_sae,
		encode: (data, rows, taken) => runtime.encode(data, rows, taken),
		decode: (codes, inputs) => runtime.decode(codes, inputs),
		close() {
			runtime.close();
			gpu.close();
		},
	};
}

/**
 * k for encoding with α·k latents per row, as k-sparse autoencoders do at test time (Makhzani and Frey 2013):
 * an α a little above 1 often gives better features to a classifier.
 */
export function scaledK({ settings, d_sae }: SaeModel, alpha: number): number {
	if (typeof settings.k !== "number") throw usageError("alpha needs an SAE with a fixed k");
	return Math.min(d_sae, Math.max(1, Math.round(alpha * settings.k)));
}

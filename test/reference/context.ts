/** A context for plugins whose SAEs run by the float64 reference, so that no GPU is needed. */
import { loadSae } from "../../core/load.ts";
import type { Context } from "../../core/plugin.ts";
import type { SaeRuntime } from "../../core/runtime.ts";
import type { SaeModel } from "../../core/sae.ts";
import { decode, encodeTopK } from "./topk.ts";

export function referenceContext(): Context {
	return {
		log: { info() {}, progress() {}, warn() {}, debug() {} },
		signal: new AbortController().signal,
		command: "sae test",
		gpu: () => Promise.reject(new Error("this context has no GPU")),
		loadSae: (path) => loadSae(path),
		openSae: async (model, override) => referenceRuntime(model, override?.k ?? Number(model.settings.k)),
	};
}

export function referenceRuntime(model: SaeModel, k: number): SaeRuntime {
	return {
		d_in: model.d_in,
		d_out: model.d_in,
		d_sae: model.d_sae,
		encode: async (data, rows) => {
			const x =
				data instanceof Float32Array ? data : new Float16Array(data.buffer, data.byteOffset, data.length);
			return encodeTopK(model, x, rows, k);
		},
		decode: async (codes) => Float32Array.from(decode(model, codes)),
		close() {},
	};
}

/** Text → latents: tokenizer, language model and SAE, with the kernels that `sae` itself runs. */
import type { InferenceSpec } from "../../../../core/architecture.ts";
import { SaeError } from "../../../../core/errors.ts";
import { describeModel } from "../../../../core/model/config.ts";
import { findHookPoint, loadedFor } from "../../../../core/model/hooks.ts";
import { makeTokenizer } from "../../../../core/model/tokenizer.ts";
import { Transformer } from "../../../../core/model/transformer.ts";
import { Weights } from "../../../../core/model/weights.ts";
import { openRuntime } from "../../../../core/runtime.ts";
import type { SaeModel } from "../../../../core/sae.ts";
import type { Gpu } from "../../../../kernels/gpu.ts";
import type { ModelFiles } from "./files.ts";

/** Tokens of a text at most, unless the model takes fewer. */
const LONGEST = 512;

export interface EncodedToken {
	readonly text: string;
	/** The latents that are active, by their numbers. */
	readonly latents: readonly ActiveLatent[];
}

export interface ActiveLatent {
	readonly latent: number;
	readonly value: number;
}

export interface EncodedText {
	readonly tokens: readonly EncodedToken[];
	/** Whether the text went on. */
	readonly cut: boolean;
}

export interface TextLatents {
	encode(text: string): Promise<EncodedText>;
	close(): void;
}

/** @throws SaeError for what can't be run or doesn't fit together, GpuError where the device has too little memory. */
export async function openTextLatents(
	gpu: Gpu,
	sae: SaeModel,
	inference: InferenceSpec,
	files: ModelFiles,
	hookPoint: string,
): Promise<TextLatents> {
	const spec = describeModel(files.config, "config.json");
	const point = findHookPoint(spec, hookPoint);
	if (point.width !== sae.d_in) {
		throw new SaeError(
			`the SAE reads ${sae.d_in} numbers, but ${point.name} of this model has ${point.width}`,
		);
	}
	const tokenizer = await makeTokenizer(
		{ path: "tokenizer.json", content: files.tokenizer },
		{ path: "tokenizer_config.json", content: files.settings },
		"tokenizer.json",
	);
	const rows = Math.min(spec.context, LONGEST);
	const weights = new Weights(files.weights, spec);
	const model = await Transformer.open(gpu, spec, weights, {
		...loadedFor(spec, point),
		rows,
		context: rows,
	});
	const runtime = await openRuntime(gpu, sae, inference, rows).catch((error) => {
		model.close();
		throw error;
	});
	return {
		async encode(text) {
			const start = tokenizer.addsBos ? [tokenizer.bos!] : [];
			const all = [...start, ...tokenizer.encode(text)];
			const tokens = Uint32Array.from(all.slice(0, model.rows));
			if (tokens.length === 0) return { tokens: [], cut: false };
			let values: Float32Array | undefined;
			const hook = async (value: Parameters<Transformer["read"]>[0]) => {
				values = await model.read(value);
			};
			await model.run({ tokens, sequences: [{ length: tokens.length }] }, new Map([[point.name, hook]]));
			const codes = await runtime.encode(values!, tokens.length);
			return {
				tokens: Array.from(tokens, (id, row) => {
					const [from, end] = [codes.offsets[row]!, codes.offsets[row + 1]!];
					const latents = Array.from(codes.index.subarray(from, end), (latent, i) => ({
						latent,
						value: codes.value[from + i]!,
					}));
					return { text: tokenizer.decode([id]), latents };
				}),
				cut: all.length > tokens.length,
			};
		},
		close() {
			runtime.close();
			model.close();
		},
	};
}

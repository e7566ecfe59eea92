/** What a page holds to encode text by itself: the SAE's encoder and a language model, as safetensors. */
import { join } from "node:path";
import { type Dtype, fromFloat32, toFloat32 } from "../../../core/files/dtype.ts";
import { safetensorsPieces, type TensorToWrite } from "../../../core/files/safetensors.ts";
import { elementCount, readableDtype, type TensorInfo } from "../../../core/files/tensor-file.ts";
import { openCheckpoint, readJson } from "../../../core/model/folder.ts";
import { findHookPoint, loadedFor } from "../../../core/model/hooks.ts";
import { readModelSpec } from "../../../core/model/index.ts";
import { partsOf } from "../../../core/model/parts.ts";
import type { SaeModel } from "../../../core/sae.ts";
import type { EmbeddedModel } from "./format.ts";

/** Bytes that are made when they are asked for; how many is known before. */
export interface Embeddable {
	readonly bytes: number;
	pieces(): AsyncIterable<Uint8Array>;
}

/** Tensors that only decoding needs. */
const DECODER = ["W_dec", "W_skip"];

/** Largest float16. */
const LARGEST_HALF = 65504;

/** The tensors that encoding needs, by name. */
export function encoderTensors({
	tensors,
}: Pick<SaeModel, "tensors">): [string, SaeModel["tensors"][string]][] {
	return Object.entries(tensors).filter(([name]) => !DECODER.includes(name));
}

/** An SAE's encoder. Matrices are halved to float16, where they fit; vectors, such as thresholds, stay. */
export function embeddableSae(model: SaeModel): Embeddable {
	const written = encoderTensors(model).map(([name, { shape, data }]): TensorToWrite => {
		const dtype = shape.length > 1 ? halfIfFits(data) : "f32";
		return { name, dtype, shape, data: fromFloat32(data, dtype) };
	});
	return embeddable(written);
}

/** A model up to a hook point. Weights of more than 16 bits are halved to float16, where they fit. */
export async function embeddableModel(
	folder: string,
	hookPoint: string,
): Promise<Embeddable & { readonly files: Omit<EmbeddedModel, "weights"> }> {
	const spec = await readModelSpec(folder);
	const { linears, norms } = partsOf(spec, loadedFor(spec, findHookPoint(spec, hookPoint)));
	const names = new Set(
		[...linears, ...norms].flatMap(({ weight, bias }) => (bias ? [weight, bias] : [weight])),
	);
	const checkpoint = await openCheckpoint(folder);
	try {
		const written: TensorToWrite[] = [];
		for (const name of names) {
			const info = checkpoint.tensors.get(name) ?? checkpoint.tensors.get(name.slice(spec.prefix.length));
			// A pass that needs what isn't there says so better than we could.
			if (info) written.push(await halved(info, checkpoint));
		}
		const json = (name: string) => readJson(join(folder, name));
		return {
			...embeddable(written),
			files: {
				config: await json("config.json"),
				tokenizer: await json("tokenizer.json"),
				settings: await json("tokenizer_config.json").catch(() => ({})),
			},
		};
	} finally {
		await checkpoint.close();
	}
}

async function halved(
	info: TensorInfo,
	file: Awaited<ReturnType<typeof openCheckpoint>>,
): Promise<TensorToWrite> {
	const { name, shape } = info;
	const stored = readableDtype(file.path, info);
	const bytes = await file.readElements(name, 0, elementCount(shape));
	if (stored === "f16" || stored === "bf16") return { name, shape, dtype: stored, data: bytes };
	const data = toFloat32(bytes, stored);
	const dtype = halfIfFits(data);
	return { name, shape, dtype, data: fromFloat32(data, dtype) };
}

function halfIfFits(data: Float32Array): Dtype & ("f16" | "f32") {
	return data.every((value) => Math.abs(value) <= LARGEST_HALF) ? "f16" : "f32";
}

function embeddable(tensors: readonly TensorToWrite[]): Embeddable {
	const bytes = tensors.reduce((sum, { data }) => sum + (data as Uint8Array).byteLength, 0);
	return { bytes, pieces: () => safetensorsPieces(tensors) };
}

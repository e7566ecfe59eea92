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

/** Decides by the bytes, in float16, that something would take. */
export type Fits = (bytes: number) => boolean;

/** Bytes in pieces. */
export type Pieces = () => AsyncIterable<Uint8Array>;

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

/** An SAE's encoder, if it fits. Matrices are halved to float16, where it holds them; vectors, such as thresholds, stay. */
export function embeddableSae(model: SaeModel, fits: Fits): Pieces | undefined {
	const tensors = encoderTensors(model);
	const sizes = tensors.map(([, { shape }]) => elementCount(shape) * (shape.length > 1 ? 2 : 4));
	if (!fits(sum(sizes))) return undefined;
	const written = tensors.map(([name, { shape, data }]): TensorToWrite => {
		const dtype = shape.length > 1 ? halfIfFits(data) : "f32";
		return { name, dtype, shape, data: fromFloat32(data, dtype) };
	});
	return () => safetensorsPieces(written);
}

/**
 * A model up to a hook point, if it fits. Weights of more than 16 bits are halved to float16, where it holds them.
 *
 * @throws SaeError for a model that can't be run or has no tokenizer.
 */
export async function embeddableModel(
	folder: string,
	hookPoint: string,
	fits: Fits,
): Promise<(Omit<EmbeddedModel, "weights"> & { readonly pieces: Pieces }) | undefined> {
	const spec = await readModelSpec(folder);
	const { linears, norms } = partsOf(spec, loadedFor(spec, findHookPoint(spec, hookPoint)));
	const names = [...linears, ...norms].flatMap(({ weight, bias }) => (bias ? [weight, bias] : [weight]));
	const checkpoint = await openCheckpoint(folder);
	try {
		// Whoever runs the model says better than we could what isn't there.
		const infos = [...new Set(names)]
			.map((name) => checkpoint.tensors.get(name) ?? checkpoint.tensors.get(name.slice(spec.prefix.length)))
			.filter((info) => info !== undefined);
		if (!fits(sum(infos.map(({ shape }) => 2 * elementCount(shape))))) return undefined;
		const written: TensorToWrite[] = [];
		for (const info of infos) written.push(await halved(info, checkpoint));
		const json = (name: string) => readJson(join(folder, name));
		return {
			config: await json("config.json"),
			tokenizer: await json("tokenizer.json"),
			settings: await json("tokenizer_config.json").catch(() => ({})),
			pieces: () => safetensorsPieces(written),
		};
	} finally {
		await checkpoint.close();
	}
}

function sum(numbers: readonly number[]): number {
	return numbers.reduce((total, number) => total + number, 0);
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

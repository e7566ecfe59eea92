/** An SAE and a language model from files that the page holds, or that a person picks. */
import { SaeError } from "../../../../core/errors.ts";
import type { Bytes } from "../../../../core/files/readable.ts";
import { readFully } from "../../../../core/files/readable.ts";
import {
	joinSafetensors,
	openSafetensorsBytes,
	readFloat32,
} from "../../../../core/files/safetensors-read.ts";
import { namedTensor, type TensorFile } from "../../../../core/files/tensor-file.ts";
import type { SaeModel } from "../../../../core/sae.ts";
import { fingerprint, type LiveManifest, SAME_PRINT } from "../format.ts";

/** A language model, before anything of it is on the device. */
export interface ModelFiles {
	readonly config: unknown;
	readonly tokenizer: unknown;
	readonly settings: unknown;
	readonly weights: TensorFile;
}

/** A file that was picked, or bytes in memory. */
export function bytesOf(name: string, source: Blob): Bytes {
	return {
		name,
		size: source.size,
		async readAt(offset, length) {
			return new Uint8Array(await source.slice(offset, offset + length).arrayBuffer());
		},
		async close() {},
	};
}

/** @throws SaeError where a tensor is missing or is not of this SAE. */
export async function readSae(
	{ sae, tensors }: Pick<LiveManifest, "sae" | "tensors">,
	bytes: Bytes,
): Promise<SaeModel> {
	const file = await openSafetensorsBytes(bytes);
	const read: [string, SaeModel["tensors"][string]][] = [];
	for (const { name, shape, print } of tensors) {
		const found = namedTensor(file, name).shape;
		if (found.join() !== shape.join()) {
			throw new SaeError(
				`${bytes.name}: ${name} has the shape [${found.join(", ")}], this page's SAE has [${shape.join(", ")}]`,
			);
		}
		const data = await readFloat32(file, name);
		if (!(Math.abs(fingerprint(data) - print) < SAME_PRINT)) {
			throw new SaeError(
				`${bytes.name}: ${name} has other numbers than this page's SAE; is it of the folder that sae import makes?`,
			);
		}
		read.push([name, { shape, data }]);
	}
	return { ...sae, tensors: Object.fromEntries(read) };
}

const INDEX = "model.safetensors.index.json";
const WHOLE = "model.safetensors";

/** The files of a model's folder, of which others are passed over. @throws SaeError that names what is missing. */
export async function readModelFiles(files: readonly Bytes[]): Promise<ModelFiles> {
	const byName = new Map(files.map((file) => [file.name, file]));
	const need = (name: string) => {
		const file = byName.get(name);
		if (!file) throw new SaeError(`${name} is missing: pick all files of the model's folder together`);
		return file;
	};
	const settings = byName.get("tokenizer_config.json");
	return {
		config: await jsonOf(need("config.json")),
		tokenizer: await jsonOf(need("tokenizer.json")),
		settings: settings ? await jsonOf(settings) : {},
		weights:
			!byName.has(WHOLE) && byName.has(INDEX)
				? await joinSafetensors(INDEX, await jsonOf(need(INDEX)), (name) => openSafetensorsBytes(need(name)))
				: await openSafetensorsBytes(need(WHOLE)),
	};
}

async function jsonOf(file: Bytes): Promise<unknown> {
	const text = new TextDecoder().decode(await readFully(file, 0, file.size));
	try {
		return JSON.parse(text);
	} catch {
		throw new SaeError(`${file.name}: is not sound JSON`);
	}
}

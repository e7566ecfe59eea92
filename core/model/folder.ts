/** A model's folder in Hugging Face's layout: its description, weights and tokenizer. */
import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { SaeError } from "../errors.ts";
import { openTensorFile } from "../files/open.ts";
import type { TensorFile } from "../files/tensor-file.ts";
import { describeModel } from "./config.ts";
import type { ModelSpec } from "./spec.ts";
import { makeTokenizer, type TextTokenizer } from "./tokenizer.ts";
import { Weights } from "./weights.ts";

/** The description of the model in a folder. @throws SaeError that names the file and the field. */
export async function readModelSpec(folder: string): Promise<ModelSpec> {
	const path = join(folder, "config.json");
	return describeModel(await readJson(path), path);
}

const WEIGHTS = ["model.safetensors", "model.safetensors.index.json"];

/** The weights of a folder, for a model of this description. */
export async function openWeights(
	folder: string,
	spec: Pick<ModelSpec, "prefix" | "family">,
): Promise<Weights> {
	return new Weights(await openCheckpoint(folder), spec);
}

/** Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names. */
export async function openCheckpoint(folder: string): Promise<TensorFile> {
	const names = await readdir(folder);
	const found = WEIGHTS.find((name) => names.includes(name));
	if (found) return openTensorFile(join(folder, found));
	const pickle = names.find((name) => name.endsWith(".bin") || name.endsWith(".pt"));
	const hint = pickle ? `; save ${pickle} as safetensors` : "";
	throw new SaeError(`${folder}: has neither ${WEIGHTS.join(" nor ")}${hint}`);
}

/** The tokenizer of a folder that has one. */
export async function tokenizerIfAny(folder: string): Promise<TextTokenizer | undefined> {
	const there = await Bun.file(join(folder, "tokenizer.json")).exists();
	return there ? openTokenizer(folder) : undefined;
}

/** @throws SaeError that names the file when it is missing or can't be used. */
export async function openTokenizer(folder: string): Promise<TextTokenizer> {
	const path = join(folder, "tokenizer.json");
	if (!(await Bun.file(path).exists())) {
		throw new SaeError(`${path}: there is no such file; token ids ready made need none (--tokens)`);
	}
	const content = await readJson(path);
	const settingsPath = join(folder, "tokenizer_config.json");
	const settings = (await Bun.file(settingsPath).exists()) ? await readJson(settingsPath) : {};
	const hash = createHash("sha256").update(JSON.stringify(content)).digest("hex").slice(0, 16);
	return makeTokenizer(
		{ path, content },
		{ path: settingsPath, content: settings },
		`${path} sha256:${hash}`,
	);
}

/** A JSON file's content. */
export async function readJson(path: string): Promise<unknown> {
	const file = Bun.file(path);
	if (!(await file.exists())) throw new SaeError(`${path}: there is no such file`);
	try {
		return await file.json();
	} catch {
		throw new SaeError(`${path}: is not sound JSON`);
	}
}

/**
 * SAE folders as SAELens 6 writes and reads them: `cfg.json` and `sae_weights.safetensors`; folders of older versions are
 * read. This is also the native format, which has a few architectures more that SAELens lacks; a folder may hold more
 * (`training/`), which is left alone.
 */
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Core, definePlugin, type SaeModel } from "saeflow";
import { checkSettings, DTYPES, readCfg, writeCfg } from "./saelens/cfg.ts";
import { CFG, readFolder, WEIGHTS } from "./saelens/folder.ts";
import {
	CHECKPOINTS,
	describeLayout,
	LAYER_SCALE,
	LAYOUTS,
	nameInFile,
	nameInMemory,
} from "./saelens/layout.ts";
import { FINETUNED, FINETUNES } from "./saelens/old.ts";
import { checkRange, checkTensors, difference, readTensors, writeTensors } from "./saelens/weights.ts";
import { writeFolder } from "./shared/folder.ts";
import { filled, peekJson } from "./shared/weights.ts";

/** Beside a checkpoint's weights. */
const SCALER = "activation_scaler.json";

export default definePlugin({
	name: "saelens",
	apiVersion: 1,
	contributes(core) {
		const options = core.z.object({
			dtype: core.z
				.enum(["float32", "float16", "bfloat16"])
				.default("float32")
				.describe("Float type of the weights; narrower ones round them"),
		});
		return [
			{
				kind: "exporter",
				name: "saelens",
				summary: "a folder in the layout of SAELens 6, which SAELens and SAEBench load unchanged",
				options,
				async write(model: SaeModel, path: string, { dtype }: { dtype: string }) {
					refuseOwn(core, model, path);
					await write(core, model, path, dtype);
				},
			},
			{
				kind: "exporter",
				name: "native",
				summary: "the same, and folders of this form for what SAELens lacks",
				options,
				write: (model: SaeModel, path: string, { dtype }: { dtype: string }) =>
					write(core, model, path, dtype),
			},
			{
				kind: "importer",
				name: "saelens",
				summary: "folders of SAELens, also from before version 6, and the native ones, which have its form",
				options: core.z.object({}),
				detect,
				read: (path: string) => read(core, path),
			},
		];
	},
});

async function detect(path: string): Promise<boolean> {
	const isFile = (name: string) =>
		stat(join(path, name)).then(
			(status) => status.isFile(),
			() => false,
		);
	// Either file makes it ours, so that a folder that lacks one gets an answer that says so; others have a config.json.
	return (
		((await isFile(WEIGHTS)) && ((await isFile(CFG)) || !(await isFile("config.json")))) ||
		((await isFile(CFG)) && (await mentionsSae(join(path, CFG))))
	);
}

/** Other formats have a `cfg.json` too; only ours and SAELens' say `d_sae`. */
async function mentionsSae(cfg: string): Promise<boolean> {
	return (await readFile(cfg, "utf8")).includes('"d_sae"');
}

function refuseOwn({ SaeError }: Core, model: SaeModel, path: string): void {
	if (model.tensors[LAYER_SCALE]) {
		throw new SaeError(
			`${path}: this SAE scales the rows of each layer by themselves, for which SAELens has no place; sae export native writes one that saeflow loads`,
		);
	}
	const name = nameInFile(model);
	if (Object.hasOwn(LAYOUTS, name) && !LAYOUTS[name]!.own) return;
	throw new SaeError(
		`${path}: SAELens has no architecture like ${name}, so it could not load this SAE; sae export native writes one that saeflow loads`,
	);
}

async function write(core: Core, given: SaeModel, path: string, dtypeName: string): Promise<void> {
	const { SaeError } = core;
	const name = nameInFile(given);
	const model = describeLayout({ ...withoutRescaling(core, given), architecture: name });
	checkSettings(model, path, core);
	checkTensors(model, model.tensors, path, core);
	const dtype = DTYPES[dtypeName]!;
	checkRange(model.tensors, dtype, path, core);
	const fill = async (folder: string) => {
		const weights = join(folder, WEIGHTS);
		await writeTensors(weights, model.tensors, dtype, core);
		const stored = await readTensors(weights, model, core);
		// Norms that rounding has moved off 1 must not enter a topk SAE's selection.
		const rescale = core.hasUnitDecoder({ ...model, tensors: stored });
		await writeFile(join(folder, CFG), writeCfg(model, dtypeName, rescale, core));
		const reread = await read(core, folder);
		const differs = difference({ ...model, architecture: nameInMemory(name) }, reread, dtype);
		if (differs) {
			throw new SaeError(
				`${path}: ${differs} reads back differently from what was written; nothing was saved`,
			);
		}
	};
	await writeFolder(core, path, { description: CFG, weights: WEIGHTS }, fill, sameButMetadata);
}

function sameButMetadata(before: string, after: string): boolean {
	const identity = (text: string) => {
		try {
			return JSON.stringify({ ...JSON.parse(text), metadata: null });
		} catch {
			return undefined;
		}
	};
	return identity(before) === identity(after);
}

async function read(core: Core, path: string): Promise<SaeModel> {
	const { SaeError } = core;
	try {
		return await readFolder(path, async (cfg) => {
			const description = readCfg(cfg, join(path, CFG), core);
			const optional = description.metadata.sae_lens_version === undefined ? FINETUNED : [];
			const tensors = await readTensors(join(path, WEIGHTS), description, core, optional);
			const read = withoutFinetuning(core, { ...description, tensors }, path);
			const { architecture } = read;
			const sae = Object.hasOwn(CHECKPOINTS, architecture)
				? withThreshold(core, read)
				: withoutRescaling(core, { ...read, architecture: nameInMemory(architecture) });
			return withoutAverage(core, sae, path);
		});
	} catch (error) {
		if (codeOf(error) === "ENOENT") {
			throw new SaeError(`${path}: has no ${CFG}; its writing was interrupted, or it is not an SAE folder`);
		}
		throw core.isSaeError(error) ? error : new SaeError(`${path}: can't be read (${codeOf(error)})`);
	}
}

/** A topk SAE that selects by activation times decoder norm becomes one with unit norms. */
function withoutRescaling(core: Core, model: SaeModel): SaeModel {
	if (model.settings.rescale_acts_by_decoder_norm === true) return core.foldDecoderNorms(model);
	const { rescale_acts_by_decoder_norm: _, ...settings } = model.settings;
	return { ...model, settings };
}

/**
 * What finetuning multiplied codes by before they are decoded is part of the decoder.
 * @throws SaeError for factors that the description does not tell of, unless they change nothing.
 */
function withoutFinetuning({ SaeError }: Core, model: SaeModel, path: string): SaeModel {
	const { [FINETUNES]: told, ...metadata } = model.metadata;
	const name = FINETUNED.find((candidate) => model.tensors[candidate]);
	if (name === undefined) return { ...model, metadata };
	const { [name]: factor, W_dec, ...tensors } = model.tensors;
	if (told !== true && factor!.data.some((value) => Math.abs(value - 1) > 1e-5)) {
		throw new SaeError(
			`${path}: has a ${name} for each latent, but its ${CFG} does not say ${FINETUNES}: true, so what it is for is not known`,
		);
	}
	const width = W_dec!.shape[1]!;
	const data = W_dec!.data.map((value, i) => value * factor!.data[Math.floor(i / width)]!);
	return { ...model, metadata, tensors: { ...tensors, W_dec: { ...W_dec!, data } } };
}

/** A checkpoint of a batch topk run as the SAE that SAELens makes of it: one threshold for all latents. */
function withThreshold(core: Core, model: SaeModel): SaeModel {
	const { topk_threshold, ...tensors } = model.tensors;
	const { k, rescale_acts_by_decoder_norm, ...settings } = model.settings;
	const sae: SaeModel = {
		...model,
		architecture: "jumprelu",
		settings,
		metadata: { ...model.metadata, k },
		tensors,
	};
	// It was measured on activations times decoder norms, and so comes after they are folded.
	const folded = rescale_acts_by_decoder_norm === true ? core.foldDecoderNorms(sae) : sae;
	return {
		...folded,
		tensors: { ...folded.tensors, threshold: filled(sae.d_sae, topk_threshold!.data[0]!) },
	};
}

/** Checkpoints keep the number that inputs were multiplied by in a file of its own. */
async function withoutAverage(core: Core, model: SaeModel, path: string): Promise<SaeModel> {
	if (model.normalize_activations !== "expected_average_only_in") return model;
	const factor = (await peekJson(join(path, SCALER)))?.scaling_factor;
	return typeof factor === "number" ? core.foldScaleKeepingLatents(model, factor) : model;
}

function codeOf(error: unknown): string {
	return (error as NodeJS.ErrnoException).code ?? String(error);
}

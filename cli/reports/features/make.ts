/** Makes a page of features: the stream and the SAE in, bytes out. */

import { isSaeError, SaeError, usageError } from "../../../core/errors.ts";
import type { Append } from "../../../core/files/atomic.ts";
import type { Context } from "../../../core/plugin.ts";
import type { SaeModel } from "../../../core/sae.ts";
import { META, type RecordStream } from "../../../core/stream.ts";
import { registry } from "../../plugins.ts";
import { pageProgram } from "./bundle.ts";
import type { Training } from "./curves.ts";
import { embeddableModel, embeddableSae, encoderTensors, type Fits } from "./embed.ts";
import {
	type EmbeddedModel,
	type Fact,
	fingerprint,
	type LiveManifest,
	type Manifest,
	type MapKind,
} from "./format.ts";
import { MOST_FOR_UMAP, mapOf } from "./map.ts";
import { type Index, Packer } from "./pack.ts";
import { PageWriter } from "./page.ts";

type Embed = "auto" | "always" | "never";

export interface PageJob {
	readonly stream: RecordStream;
	readonly sae: SaeModel;
	readonly saeName: string;
	readonly training: Training | undefined;
	/** The language model's name, and its folder where there is one. */
	readonly model: string | undefined;
	readonly folder: string | undefined;
	readonly options: {
		readonly title?: string | undefined;
		readonly top: number;
		readonly samples: number;
		readonly context: number;
		readonly map: MapKind | "auto" | "none";
		readonly hook_point?: string | undefined;
		readonly embed_sae: Embed;
		readonly embed_model: Embed;
		/** In bytes. */
		readonly embed_limit: number;
	};
	readonly context: Pick<Context, "log" | "signal">;
}

/** Returns the size of the page in bytes. @throws SaeError for latents that the SAE lacks, and an empty stream. */
export async function makePage(job: PageJob, append: Append): Promise<number> {
	const { stream, sae, options, context } = job;
	const program = await pageProgram();
	const page = new PageWriter(append);
	const title = options.title ?? `Latents of ${job.saeName}`;
	await page.begin(title, program);
	const packer = new Packer(stream.schema, options, (chunk, number) => page.latents(chunk, number));
	for await (const batch of stream.batches) {
		context.signal.throwIfAborted();
		await packer.add(batch);
		context.log.progress(`${packer.rows} latents, ${(page.bytes / 1e6).toFixed(1)} MB`);
	}
	const index = await packer.end();
	const latents = index.columns.find(({ name }) => name === "latent")!.values;
	if (latents.length === 0) throw new SaeError("the stream has no latents");
	const stranger = latents.find((latent) => latent >= sae.d_sae);
	if (stranger !== undefined) {
		throw new SaeError(
			`the stream has the latent ${stranger}, but ${job.saeName} has ${sae.d_sae}: is it of this SAE?`,
		);
	}
	const map = kindOfMap(options.map, latents.length);
	const places = map && mapOf(map, sae.tensors.W_dec!.data, sae.d_out ?? sae.d_in, Array.from(latents));
	const mapped: Index = {
		...index,
		columns: [
			...index.columns,
			...(places
				? [
						{ name: "x", type: "f32" as const, values: places.x },
						{ name: "y", type: "f32" as const, values: places.y },
					]
				: []),
		],
	};
	await page.index(mapped);
	const live = await writeLive(page, job);
	const seen = Number(stream.schema.metadata.get(META.seen));
	await page.end(
		{
			title,
			...aboutOf(job),
			d_sae: sae.d_sae,
			seen: seen > 0 ? seen : undefined,
			rows: latents.length,
			columns: mapped.columns.map(({ name, type }) => ({ name, type })),
			chunks: index.chunks,
			map,
			curves: job.training?.curves ?? [],
			live,
		},
		program,
	);
	return page.bytes;
}

function kindOfMap(asked: PageJob["options"]["map"], latents: number): MapKind | undefined {
	// Fewer have no neighbourhoods.
	if (asked === "none" || latents < 4) return undefined;
	if (asked === "auto") return latents <= MOST_FOR_UMAP ? "umap" : "pca";
	return asked;
}

/** Writes what encoding text needs, as far as it is wanted and fits, and says what the page will ask for. */
async function writeLive(page: PageWriter, job: PageJob): Promise<LiveManifest | undefined> {
	const { sae, options, context } = job;
	const architecture = await registry.find("architecture", sae.architecture);
	if (!architecture) {
		context.log.warn(`no plugin can run the architecture "${sae.architecture}", so the page can't encode`);
		return undefined;
	}
	const { tensors: _, ...description } = sae;
	const hookPoint = hookPointOf(job);
	const fits = (asked: Embed) => (bytes: number) =>
		asked === "always" || (asked === "auto" && bytes <= options.embed_limit);
	const encoder = embeddableSae(sae, fits(options.embed_sae));
	const files = await modelFiles(job, hookPoint, fits(options.embed_model));
	const asks = [...(encoder ? [] : ["the SAE's file"]), ...(files ? [] : ["the language model's files"])];
	context.log.info(
		asks.length === 0
			? "the page encodes text by itself"
			: `to encode text, the page asks for ${asks.join(" and ")}`,
	);
	return {
		sae: description,
		inference: architecture.inference(sae, {}),
		tensors: encoderTensors(sae).map(([name, { shape, data }]) => ({
			name,
			shape,
			print: fingerprint(data),
		})),
		hookPoint,
		model: job.model,
		embedded: {
			...(encoder && { sae: await page.blob("sae", encoder) }),
			...(files && { model: await writeModel(page, files) }),
		},
	};
}

/** What the page holds of the language model, if anything. A model that can't be had is only an error if it must be. */
async function modelFiles({ options, folder, context }: PageJob, hookPoint: string | undefined, fits: Fits) {
	const asked = options.embed_model;
	if (asked === "never") return undefined;
	if (folder === undefined || hookPoint === undefined) {
		if (asked === "auto") return undefined;
		throw usageError(
			"--embed-model always needs the model's folder (--model) and a hook point (--hook-point)",
		);
	}
	return embeddableModel(folder, hookPoint, fits).catch((error) => {
		if (asked === "always" || !isSaeError(error)) throw error;
		context.log.warn(`the page holds no language model: ${error.message}`);
		return undefined;
	});
}

async function writeModel(
	page: PageWriter,
	{ pieces, ...files }: NonNullable<Awaited<ReturnType<typeof embeddableModel>>>,
): Promise<EmbeddedModel> {
	return { ...files, weights: await page.blob("model", pieces) };
}

/** The one hook point that the SAE reads; several side by side are more than the page can do. */
function hookPointOf({ options, sae, stream }: PageJob): string | undefined {
	const named = options.hook_point ?? sae.metadata.hook_name ?? stream.schema.metadata.get(META.hookPoint);
	if (typeof named !== "string" || named === "" || named.includes(",")) return undefined;
	// Of a transcoder's FROM:TO, text goes as far as the first.
	return named.split(":")[0];
}

function aboutOf(job: PageJob): Pick<Manifest, "facts" | "commands" | "fvu"> {
	const { sae, stream, training } = job;
	const { metadata } = stream.schema;
	const text = (value: unknown) => {
		if (value === undefined || value === "") return undefined;
		return typeof value === "number" ? value.toLocaleString("en") : String(value);
	};
	const last = training?.last ?? {};
	const l0 = last.eval_l0 ?? last.l0;
	const settings = Object.entries(sae.settings).map(([name, value]) => `${name} ${value}`);
	const known = (facts: readonly (readonly [string, string | undefined])[]) =>
		facts.filter((fact): fact is Fact => fact[1] !== undefined);
	return {
		facts: known([
			["SAE", metadata.get(META.sae) ?? job.saeName],
			["architecture", [sae.architecture, ...settings].join(", ")],
			[
				"d_in",
				sae.d_out === undefined || sae.d_out === sae.d_in ? String(sae.d_in) : `${sae.d_in} → ${sae.d_out}`,
			],
			["d_sae", text(sae.d_sae)],
			["language model", text(job.model ?? sae.metadata.model_name)],
			["hook point", hookPointOf(job)],
			["L0 in training", l0 === undefined ? undefined : String(Number(l0.toPrecision(4)))],
			["tokens of training", text(sae.metadata.training_tokens)],
			["co-occurrence", text(metadata.get(META.cooccurrence))],
		]),
		commands: known([
			["training", text(sae.metadata.training_command)],
			["statistics", text(metadata.get(META.command))],
		]),
		fvu: fvuOf(last),
	};
}

function fvuOf({ eval_fvu, fvu }: Readonly<Record<string, number>>): Manifest["fvu"] {
	if (eval_fvu !== undefined) return ["FVU, held out", eval_fvu];
	return fvu === undefined ? undefined : ["FVU, last batch of training", fvu];
}

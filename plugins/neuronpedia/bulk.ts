/**
 * The folder that Neuronpedia's bulk import reads: release, model, source set and source as a line each, then latents,
 * their examples and explanations in batches. The importer takes the columns from a file's first line, so that every
 * line has all keys.
 */
import { createHash } from "node:crypto";
import type { Core } from "saeflow";
import { examplesOf } from "./examples.ts";
import type { BatchFile, Files } from "./export.ts";
import type { Names } from "./names.ts";
import { type Exported, rounded, statistics } from "./statistics.ts";

/** Strength of steering that Neuronpedia proposes without a vector. */
const DEFAULT_STRENGTH = 10;

export function bulkFiles(names: Names): Files {
	const jsonl = (folder: string, rows: readonly object[], batch: number): BatchFile[] =>
		rows.length === 0
			? []
			: [{ name: `${folder}/batch-${batch}.jsonl.gz`, text: lines(rows), compressed: true }];
	return {
		batch: (core, latents, batch) => [
			...jsonl(
				"features",
				latents.map((latent) => featureRow(names, latent)),
				batch,
			),
			...jsonl(
				"activations",
				latents.flatMap((latent) => activationRows(core, names, latent)),
				batch,
			),
			...jsonl(
				"explanations",
				latents.flatMap((latent) => explanationRows(names, latent)),
				batch,
			),
		],
		last: (longest) => [
			{ name: "release.jsonl", text: lines([releaseRow(names)]) },
			{ name: "model.jsonl", text: lines([modelRow(names)]) },
			{ name: "sourceset.jsonl", text: lines([sourceSetRow(names)]) },
			{ name: "source.jsonl", text: lines([sourceRow(names, longest)]) },
		],
	};
}

function lines(rows: readonly object[]): string {
	return rows.map((row) => `${JSON.stringify(row)}\n`).join("");
}

function releaseRow({ release, sourceSet, sourceId, creatorId, given }: Names) {
	return {
		name: release,
		description: given.description,
		descriptionShort: given.description,
		urls: given.url === "" ? [] : [given.url],
		creatorName: given.creator,
		creatorNameShort: given.creator,
		creatorEmail: null,
		creatorId,
		visibility: "PUBLIC",
		isNewUi: false,
		featured: false,
		defaultSourceSetName: sourceSet,
		defaultSourceId: sourceId,
		defaultUmapSourceIds: [],
		createdAt: given.created,
	};
}

/** A row of the database that is there is not overwritten, so that what is unknown here does no harm. */
function modelRow({ modelId, sourceSet, sourceId, creatorId, given }: Names) {
	return {
		id: modelId,
		instruct: false,
		displayNameShort: modelId,
		displayName: modelId,
		creatorId,
		tlensId: null,
		dimension: null,
		visibility: "PUBLIC",
		defaultSourceSetName: sourceSet,
		defaultSourceId: sourceId,
		inferenceEnabled: false,
		layers: 0,
		neuronsPerLayer: 0,
		owner: "",
		website: null,
		createdAt: given.created,
		updatedAt: given.created,
	};
}

function sourceSetRow({ modelId, sourceSet, release, creatorId, given }: Names) {
	return {
		modelId,
		name: sourceSet,
		creatorId,
		creatorName: given.creator,
		creatorEmail: null,
		releaseName: release,
		description: given.description,
		type: "",
		urls: given.url === "" ? [] : [given.url],
		hasDashboards: true,
		visibility: "PUBLIC",
		defaultOfModelId: null,
		defaultRange: 1,
		defaultShowBreaks: true,
		showDfa: false,
		showCorrelated: false,
		showHeadAttribution: false,
		showUmap: false,
		createdAt: given.created,
	};
}

function sourceRow({ modelId, sourceSet, sourceId, creatorId, seen, given }: Names, longest: number) {
	const prompt = given.prompt_tokens ?? longest;
	return {
		id: sourceId,
		modelId,
		setName: sourceSet,
		creatorId,
		hasDashboards: true,
		inferenceEnabled: false,
		inferenceHosts: [],
		saelensConfig: null,
		saelensRelease: null,
		saelensSaeId: null,
		hfRepoId: given.hf_repo ?? null,
		hfFolderId: given.hf_folder ?? null,
		visibility: "PUBLIC",
		defaultOfModelId: null,
		hasUmap: false,
		hasUmapLogSparsity: false,
		hasUmapClusters: false,
		num_prompts: prompt > 0 ? Math.round(seen / prompt) : 0,
		num_tokens_in_prompt: prompt,
		dataset: given.dataset,
		notes: null,
		createdAt: given.created,
	};
}

/** What every row about a latent begins with. */
function key({ modelId, sourceId, creatorId, given }: Names, { feature }: Exported) {
	return { modelId, layer: sourceId, index: feature.latent, creatorId, createdAt: given.created };
}

function featureRow(names: Names, latent: Exported) {
	const { feature, withVector, decoder } = latent;
	const max = rounded(feature.max);
	return {
		...key(names, latent),
		maxActApprox: max,
		hasVector: withVector,
		vector: withVector ? Array.from(decoder, rounded) : [],
		vectorLabel: null,
		vectorDefaultSteerStrength: withVector ? max : DEFAULT_STRENGTH,
		hookName: names.hookName,
		topkCosSimIndices: feature.nearest.map(({ latent }) => latent),
		topkCosSimValues: feature.nearest.map(({ cosine }) => rounded(cosine)),
		...statistics(latent),
		sourceSetName: names.sourceSet,
	};
}

function activationRows(core: Core, names: Names, latent: Exported) {
	return examplesOf(core, latent.feature).map(({ tokens, values, at, document, row, bin }) => {
		const maxValue = Math.max(...values);
		return {
			id: idOf(names, "activation", latent.feature.latent, row),
			...key(names, latent),
			tokens,
			maxValue,
			maxValueTokenIndex: values.indexOf(maxValue),
			minValue: Math.min(...values),
			values,
			dataSource: names.given.dataset === "" ? null : names.given.dataset,
			dataIndex: document === null ? null : String(document),
			dfaValues: [],
			dfaTargetIndex: null,
			dfaMaxValue: null,
			lossValues: [],
			logitContributions: null,
			binMin: bin.min,
			binMax: bin.max,
			binContains: bin.share,
			qualifyingTokenIndex: at,
		};
	});
}

/**
 * `typeName` and `explanationModelName` refer to tables of the database, which refuses what they lack. So the source is
 * in the notes with the scores, and the model's name only where someone says that the database knows it.
 */
function explanationRows(names: Names, latent: Exported) {
	const { explanation, notes, feature } = latent;
	if (explanation === null) return [];
	const { creatorId, ...rest } = key(names, latent);
	const { explanation_source: source } = notes;
	const model = names.given.explanation_models && typeof source === "string" ? source : null;
	return [
		{
			id: idOf(names, "explanation", feature.latent),
			...rest,
			description: explanation,
			authorId: creatorId,
			typeName: null,
			explanationModelName: model,
			scoreV1: 0,
			scoreV2: null,
			triggeredByUserId: null,
			notes: Object.keys(notes).length > 0 ? JSON.stringify(notes) : null,
			updatedAt: names.given.created,
		},
	];
}

const ID_LENGTH = 25;

/** 25 letters and digits that begin with c, as the database's own ids; the same for the same row. */
function idOf({ modelId, sourceId }: Names, ...parts: readonly (string | number)[]): string {
	const hash = createHash("sha256")
		.update([modelId, sourceId, ...parts].join("\n"))
		.digest("hex");
	return `c${BigInt(`0x${hash}`).toString(36).padStart(50, "0")}`.slice(0, ID_LENGTH);
}

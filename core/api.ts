/** The values that core hands to every plugin. Types come from the package itself. */
import { z } from "zod";
import {
	activationsBatch,
	activationsSchema,
	labelActivations,
	vectorData,
	vectorField,
} from "./arrow/activations.ts";
import { makeBatch, relabelBatch, sliceBatch } from "./arrow/batch.ts";
import { featuresBatch, featuresOf, featuresSchema } from "./arrow/features.ts";
import { columnTypes, tableBatch, tableSchema } from "./arrow/metrics.ts";
import { isNumberColumn, numberColumn } from "./arrow/numbers.ts";
import { openArrowFile } from "./arrow/random-access.ts";
import { openArrow, scanArrow } from "./arrow/reader.ts";
import { takeRows } from "./arrow/take.ts";
import { findVectorField, vectorColumn, vectorFields } from "./arrow/vectors.ts";
import { writeArrowFile } from "./arrow/writer.ts";
import { columnNames, LAYER_COLUMN } from "./columns.ts";
import { EXIT, isSaeError, SaeError, usageError } from "./errors.ts";
import { openFile } from "./files/bytes.ts";
import { cachePath } from "./files/cache.ts";
import { fromFloat32, widened } from "./files/dtype.ts";
import { writeNpz } from "./files/npz-write.ts";
import { detectFormat, isTorch, openTensorFile, openTorch } from "./files/open.ts";
import { expandPaths } from "./files/patterns.ts";
import { openSafetensors, readFloat32, writeSafetensors } from "./files/safetensors.ts";
import { rowTensor } from "./files/tensor-file.ts";
import { writeTorch } from "./files/torch-write.ts";
import { firstNonFinite } from "./finite.ts";
import {
	foldDecoderNorms,
	foldInputAndTarget,
	foldInputScale,
	foldScaleKeepingLatents,
	hasUnitDecoder,
	withCentring,
} from "./fold.ts";
import { splitExamples } from "./interpret/passages.ts";
import { transposed } from "./matrix.ts";
import {
	batchTokensOption,
	compareLosses,
	contestedPoint,
	expandLayers,
	finalRows,
	findHookPoint,
	findModel,
	firstContexts,
	hookPoints,
	hookPointsOption,
	LossMean,
	modelOption,
	NO_TARGET,
	openSaesIn,
	openText,
	openTokenizer,
	openTransformer,
	packPasses,
	readModelSpec,
	replaceRows,
	skipOption,
	spliceHooks,
	textOptions,
} from "./model/index.ts";
import { overlapped } from "./overlap.ts";
import { partMetadata, partOf, partOption, rowsOfPart } from "./part.ts";
import { CounterRng } from "./random.ts";
import { readRows } from "./rows.ts";
import { saeReader } from "./sae-rows.ts";
import { columnsOf } from "./shards/manifest.ts";
import { RUN_ROWS } from "./shards/plan.ts";
import { checkShards, findShards, joinShards } from "./shards/read.ts";
import { permutation } from "./shuffle.ts";
import { META, origin, repeats } from "./stream.ts";
import { openCheckpoint, writeCheckpoint } from "./train/checkpoint.ts";
import { finishModel } from "./train/finish.ts";
import { initialise, parametersOf } from "./train/initialise.ts";
import { trainingBytes } from "./train/memory.ts";
import { TrainStep } from "./train/step.ts";

export const core = {
	z,
	EXIT,
	SaeError,
	isSaeError,
	usageError,
	META,
	CounterRng,
	permutation,
	activationsSchema,
	activationsBatch,
	labelActivations,
	vectorField,
	vectorData,
	makeBatch,
	relabelBatch,
	sliceBatch,
	takeRows,
	columnNames,
	LAYER_COLUMN,
	isNumberColumn,
	numberColumn,
	vectorColumn,
	vectorFields,
	findVectorField,
	featuresSchema,
	featuresBatch,
	featuresOf,
	splitExamples,
	columnTypes,
	tableSchema,
	tableBatch,
	openArrow,
	openArrowFile,
	scanArrow,
	writeArrowFile,
	readRows,
	saeReader,
	overlapped,
	openFile,
	cachePath,
	expandPaths,
	detectFormat,
	openTensorFile,
	rowTensor,
	firstNonFinite,
	openSafetensors,
	readFloat32,
	writeSafetensors,
	openTorch,
	isTorch,
	writeTorch,
	writeNpz,
	transposed,
	fromFloat32,
	widened,
	foldInputAndTarget,
	foldInputScale,
	foldScaleKeepingLatents,
	foldDecoderNorms,
	hasUnitDecoder,
	withCentring,
	origin,
	repeats,
	partOption,
	partOf,
	partMetadata,
	rowsOfPart,
	RUN_ROWS,
	findShards,
	joinShards,
	checkShards,
	columnsOf,
	findModel,
	readModelSpec,
	hookPoints,
	findHookPoint,
	expandLayers,
	openTransformer,
	openTokenizer,
	openText,
	textOptions,
	modelOption,
	hookPointsOption,
	skipOption,
	batchTokensOption,
	NO_TARGET,
	openSaesIn,
	contestedPoint,
	firstContexts,
	spliceHooks,
	replaceRows,
	packPasses,
	compareLosses,
	finalRows,
	LossMean,
	createTrainStep: TrainStep.create,
	trainingBytes,
	initialise,
	parametersOf,
	finishModel,
	openCheckpoint,
	writeCheckpoint,
};

export type Core = typeof core;

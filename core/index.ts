/// <reference types="@webgpu/types" />
/**
 * @module saeflow
 * The public interface: everything a plugin or a program that uses saeflow as a library may import.
 */

export type { Core } from "./api.ts";
export type * from "./architecture.ts";
export {
	activationsBatch,
	activationsSchema,
	type RowColumn,
	type Vectors,
	type VectorType,
} from "./arrow/activations.ts";
export { codesOf } from "./arrow/codes.ts";
export {
	type Feature,
	type FeatureExample,
	featuresBatch,
	featuresOf,
	featuresSchema,
} from "./arrow/features.ts";
export { openArrow, readArrowChunks, readArrowStdin } from "./arrow/reader.ts";
export { stdoutSink } from "./arrow/stdout.ts";
export { findVectorField, vectorColumn } from "./arrow/vectors.ts";
export { type ByteSink, writeArrow, writeArrowFile } from "./arrow/writer.ts";
export { withBuiltIn } from "./built-in.ts";
export { EXIT, isSaeError, SaeError, usageError } from "./errors.ts";
export { type CollectOptions, collectFeatures } from "./features/collect.ts";
export type { Collected } from "./features/collector.ts";
export { decoderRows, encoderDecoderCosines } from "./features/decoder.ts";
export { type FeatureParts, featuresStream } from "./features/features.ts";
export { latentLogits } from "./features/logits.ts";
export { nearestLatents } from "./features/nearest.ts";
export { tokenTexts } from "./features/pieces.ts";
export type { Dtype } from "./files/dtype.ts";
export { openTensorFile } from "./files/open.ts";
export { type TensorToWrite, writeSafetensors } from "./files/safetensors.ts";
export { type RowTensor, rowTensor, type TensorFile, type TensorInfo } from "./files/tensor-file.ts";
export { foldDecoderNorms, foldInputScale } from "./fold.ts";
export type * from "./interpret/interpreter.ts";
export type { Passage, Split } from "./interpret/passages.ts";
export type { Negatives, PassagePool } from "./interpret/pool.ts";
export { type DecodeOptions, decodeStream, type EncodeOptions, encodeStream } from "./latents.ts";
export { loadSae, saveSae } from "./load.ts";
export * from "./model/index.ts";
export { type OpenSaeOptions, openSae } from "./open-sae.ts";
export { type Discovered, discoverPlugins } from "./packages/discover.ts";
export type { Part } from "./part.ts";
export type * from "./plugin.ts";
export { API_VERSION, definePlugin } from "./plugin.ts";
export { CounterRng } from "./random.ts";
export type { Listed, PluginEntry, PluginPackage, Registry } from "./registry.ts";
export { rowStream } from "./row-stream.ts";
export { type RowBatch, type RowReaderOptions, readRows, type SideBySide } from "./rows.ts";
export type { SaeRuntime } from "./runtime.ts";
export type * from "./sae.ts";
export { type GivenColumns, type SaeReader, type SaeRows, saeReader } from "./sae-rows.ts";
export {
	type Query as SearchQuery,
	type QueryRow,
	queryRow,
	type SearchOptions,
	searchStream,
} from "./search/search.ts";
export { steerCodes, steerVector } from "./search/steer.ts";
export type { Manifest as ShardManifest } from "./shards/manifest.ts";
export type { ShardFolder } from "./shards/read.ts";
export { type ShardOptions, writeShards } from "./shards/write.ts";
export type { MetricSink } from "./sinks/sink.ts";
export { tensorboardSink } from "./sinks/tensorboard.ts";
export type * from "./stream.ts";
export { META } from "./stream.ts";
export type { Checkpoint, RunState, WholeRows } from "./train/checkpoint.ts";
export type { DataScales } from "./train/finish.ts";
export type * from "./train/job.ts";
export type { StepReport, StepRows, StepSettings, TrainStep } from "./train/step.ts";
export { type SaeToTrain, type TrainOptions, train } from "./train-saes.ts";

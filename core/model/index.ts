/** What plugins and programs use of language models. */

export { NO_TARGET } from "../../kernels/model/token-loss.ts";
export {
	type AttentionRows,
	attentionDirections,
	attributeAttention,
	readAttention,
} from "./attention-attribution.ts";
export { editCodes, type GivenEdit, type LatentEdit, parseEdit } from "./edits.ts";
export { openTokenizer, readModelSpec, tokenizerIfAny } from "./folder.ts";
export { drawToken, type GenerateOptions, generate, type PositionChange } from "./generate.ts";
export type { LogitHead, Logits } from "./head.ts";
export { expandLayers, findHookPoint, type HookPoint, hookPoints } from "./hooks.ts";
export { findLocalModel, findModel } from "./hub.ts";
export {
	checkLogitRoute,
	extremeTokens,
	type LogitAttribution,
	openLogitAttribution,
	type TokenLogit,
} from "./logit-attribution.ts";
export {
	type Change,
	compareLosses,
	finalRows,
	firstContexts,
	LossMean,
	type PassLosses,
	type PassTokens,
	packPasses,
} from "./losses.ts";
export { type OpenTransformerOptions, openTransformer } from "./open.ts";
export { type OpenedSae, openSaesIn } from "./open-saes.ts";
export { batchTokensOption, hookPointsOption, modelOption, skipOption } from "./options.ts";
export type * from "./spec.ts";
export {
	checkApart,
	contestedPoint,
	mergeHooks,
	type PlacedSae,
	placeSae,
	replaceRows,
	type SaePlace,
	type SpliceOptions,
	spliceHooks,
} from "./splice.ts";
export type { Context as TextContext } from "./text/contexts.ts";
export { openText, type TextInput, type TextOptions, textOptions } from "./text/input.ts";
export type { TextTokenizer } from "./tokenizer.ts";
export type {
	HookHandler,
	HookValue,
	Sequence,
	TokenBatch,
	Transformer,
	TransformerOptions,
} from "./transformer.ts";

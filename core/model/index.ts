/** What plugins and programs use of language models. */
export { readModelSpec } from "./config.ts";
export { type LogitHead, type Logits, NO_TARGET } from "./head.ts";
export { expandLayers, findHookPoint, type HookPoint, hookPoints } from "./hooks.ts";
export { findModel } from "./hub.ts";
export type * from "./spec.ts";
export { openTokenizer, type TextTokenizer } from "./tokenizer.ts";
export {
	type HookHandler,
	type HookValue,
	type Sequence,
	type TokenBatch,
	Transformer,
	type TransformerOptions,
} from "./transformer.ts";

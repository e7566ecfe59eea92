/** The plugins that come with saeflow, in the order in which they are listed. */
import type { PluginEntry } from "saeflow";

export const plugins: readonly PluginEntry[] = [
	{ name: "topk", provides: ["architecture:topk"], load: () => import("./topk.ts") },
	{ name: "batch-topk", provides: ["architecture:batchtopk"], load: () => import("./batch-topk.ts") },
	{ name: "relu", provides: ["architecture:relu", "architecture:standard"], load: () => import("./relu.ts") },
	{ name: "p-anneal", provides: ["architecture:p-anneal"], load: () => import("./p-anneal.ts") },
	{ name: "gated", provides: ["architecture:gated"], load: () => import("./gated.ts") },
	{ name: "jumprelu", provides: ["architecture:jumprelu"], load: () => import("./jumprelu.ts") },
	{ name: "matryoshka", provides: ["architecture:matryoshka"], load: () => import("./matryoshka.ts") },
	{ name: "msae", provides: ["architecture:msae"], load: () => import("./msae.ts") },
	{ name: "group-max", provides: ["architecture:groupmax"], load: () => import("./group-max.ts") },
	{ name: "signed-topk", provides: ["architecture:signed-topk"], load: () => import("./signed-topk.ts") },
	{
		name: "choice",
		provides: ["architecture:mutual-choice", "architecture:feature-choice"],
		load: () => import("./choice.ts"),
	},
	{ name: "crosscoder", provides: ["architecture:crosscoder"], load: () => import("./crosscoder.ts") },
	{ name: "transcoder", provides: ["architecture:transcoder"], load: () => import("./transcoder.ts") },
	{ name: "archetypal", provides: ["architecture:archetypal"], load: () => import("./archetypal.ts") },
	{ name: "product-keys", provides: ["architecture:product-keys"], load: () => import("./product-keys.ts") },
	{ name: "trainer", provides: ["trainer:adam"], load: () => import("./trainer.ts") },
	{ name: "file", provides: ["source:file"], load: () => import("./source-file.ts") },
	{ name: "synthetic", provides: ["source:synthetic"], load: () => import("./source-synthetic.ts") },
	{ name: "transformer", provides: ["source:transformer"], load: () => import("./source-transformer.ts") },
	{
		name: "saelens",
		provides: ["exporter:saelens", "exporter:native", "importer:saelens"],
		load: () => import("./saelens.ts"),
	},
	{
		name: "sparsify",
		provides: ["exporter:sparsify", "importer:sparsify"],
		load: () => import("./sparsify.ts"),
	},
	{ name: "openai", provides: ["importer:openai"], load: () => import("./openai.ts") },
	{
		name: "gemma-scope",
		provides: ["exporter:gemma-scope", "importer:gemma-scope"],
		load: () => import("./gemma-scope.ts"),
	},
	{
		name: "llama-scope",
		provides: ["importer:llama-scope", "importer:llamascopium"],
		load: () => import("./llama-scope.ts"),
	},
	{
		name: "safetensors",
		provides: ["exporter:safetensors", "importer:safetensors"],
		load: () => import("./safetensors.ts"),
	},
	{ name: "neuronpedia", provides: ["exporter:neuronpedia"], load: () => import("./neuronpedia.ts") },
	// Asked last of those that read single files, for it answers for any file of PyTorch.
	{
		name: "dictionary-learning",
		provides: ["exporter:dictionary-learning", "importer:dictionary-learning"],
		load: () => import("./dictionary-learning.ts"),
	},
	{
		name: "eval-reconstruction",
		provides: ["evaluator:reconstruction"],
		load: () => import("./eval-reconstruction.ts"),
	},
	{ name: "eval-loss", provides: ["evaluator:loss"], load: () => import("./eval-loss.ts") },
	{
		name: "eval-layer-distance",
		provides: ["evaluator:layer-distance"],
		load: () => import("./eval-layer-distance.ts"),
	},
	{ name: "eval-recovery", provides: ["evaluator:recovery"], load: () => import("./eval-recovery.ts") },
	{ name: "eval-stability", provides: ["evaluator:stability"], load: () => import("./eval-stability.ts") },
	{ name: "eval-probing", provides: ["evaluator:probing"], load: () => import("./eval-probing.ts") },
	{ name: "eval-geometry", provides: ["evaluator:geometry"], load: () => import("./eval-geometry.ts") },
	{
		name: "eval-dark-matter",
		provides: ["evaluator:dark-matter"],
		load: () => import("./eval-dark-matter.ts"),
	},
	{ name: "eval-mdl", provides: ["evaluator:mdl"], load: () => import("./eval-mdl.ts") },
	{ name: "eval-families", provides: ["evaluator:families"], load: () => import("./eval-families.ts") },
	{ name: "eval-absorption", provides: ["evaluator:absorption"], load: () => import("./eval-absorption.ts") },
];

/** The plugins that come with saeflow, in the order in which they are listed. */
import type { PluginEntry } from "saeflow";

export const plugins: readonly PluginEntry[] = [
	{ name: "topk", provides: ["architecture:topk"], load: () => import("./topk.ts") },
	{ name: "trainer", provides: ["trainer:adam"], load: () => import("./trainer.ts") },
	{ name: "file", provides: ["source:file"], load: () => import("./source-file.ts") },
	{ name: "synthetic", provides: ["source:synthetic"], load: () => import("./source-synthetic.ts") },
	{ name: "saelens", provides: ["exporter:saelens", "importer:saelens"], load: () => import("./saelens.ts") },
	{
		name: "eval-reconstruction",
		provides: ["evaluator:reconstruction"],
		load: () => import("./eval-reconstruction.ts"),
	},
	{ name: "eval-recovery", provides: ["evaluator:recovery"], load: () => import("./eval-recovery.ts") },
];

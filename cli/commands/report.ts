/** `sae report REPORT`: what tables of results say, as a page or as further tables. */
import { defineVerbFamily } from "../family.ts";

export default defineVerbFamily({
	name: "report",
	summary: "shows what a table of results, or a stream of features, says",
	examples: [
		{ command: "sae report features my-sae features.arrow --out latents.html" },
		{ command: "sae report pareto sweep.arrow --out pareto.html" },
		{ command: "sae sweep acts.arrow --sae 'topk --k 8,16,32' --out runs | sae report scaling" },
	],
	kind: "report",
	verbs: {
		features: {
			summary: "a page to look at an SAE's latents, which can also encode text",
			load: async () => (await import("../reports/features/command.ts")).default,
		},
		pareto: {
			summary: "a page with FVU against L0 for the SAEs of a sweep, and their scaling laws",
			load: async () => (await import("../reports/pareto.ts")).default,
		},
		scaling: {
			summary: "scaling laws L(n) and L(n, k), fitted to the SAEs of a sweep",
			load: async () => (await import("../reports/scaling.ts")).default,
		},
	},
});

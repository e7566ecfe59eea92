/** `sae attribute WHAT`: what latents do in a language model, and what makes them active. */
import { defineVerbFamily } from "../family.ts";

export default defineVerbFamily({
	name: "attribute",
	summary: "what latents do in a language model, and where their activations come from",
	examples: [
		{ command: "sae attribute logits my-sae --model openai-community/gpt2 --latent 17" },
		{ command: "sae attribute attention z-sae --model openai-community/gpt2 --latent 17 --text some.txt" },
	],
	kind: "what",
	verbs: {
		logits: {
			summary: "tokens that latents make more and less likely, directly",
			load: async () => (await import("../attribute/logits.ts")).default,
		},
		attention: {
			summary: "heads and source positions that latents of attention outputs are from",
			load: async () => (await import("../attribute/attention.ts")).default,
		},
	},
});

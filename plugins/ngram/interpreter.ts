/** Learns rules from some of a latent's passages, and judges them on the others. */
import type { Core, Feature, Interpretation, Interpreter, Passage, PassagePool } from "saeflow";
import { scoresOf } from "../shared/scores.ts";
import { describe } from "./describe.ts";
import { learnRules, matches, type Site } from "./rules.ts";

export interface Settings {
	/** Tokens that a rule looks at, the one itself included. */
	readonly tokens: number;
	/** Rules of one latent, at most. */
	readonly rules: number;
	/** Activations below this share of the largest count neither as active nor as silent. */
	readonly active_share: number;
	/** Passages that rules are learnt from, and that they are judged on, at most. */
	readonly shown: number;
	readonly held_out: number;
	readonly seed: number;
}

export function interpreter(core: Core, pool: PassagePool, settings: Settings): Interpreter {
	return {
		columns: ["rules", "precision", "recall", "f1", "judged"].map((name) => `ngram_${name}`),
		interpret: async ({ feature }) => explainByRules(core, feature, pool, settings),
	};
}

function explainByRules(core: Core, feature: Feature, pool: PassagePool, settings: Settings): Interpretation {
	const { shown, heldOut } = core.splitExamples(feature, settings.shown, settings.held_out);
	const { passages } = pool.negatives(feature, shown.length + heldOut.length, settings.seed);
	// Half from alike latents come first, so that both sides get some of them.
	const silent = {
		shown: passages.filter((_, i) => i % 2 === 0),
		heldOut: passages.filter((_, i) => i % 2 === 1),
	};
	const threshold = settings.active_share * feature.max;
	const known = sitesOf([...shown, ...silent.shown], threshold);
	const rules = learnRules(known.active, known.silent, settings.tokens, settings.rules);
	const judged = sitesOf([...heldOut, ...silent.heldOut], threshold);
	const sites = [...judged.active, ...judged.silent];
	const scores = scoresOf({
		truth: sites.map((_, i) => i < judged.active.length),
		answers: sites.map((site) => rules.some((rule) => matches(rule, site))),
	});
	return {
		explanation: rules.length > 0 ? describe(rules) : null,
		source: rules.length > 0 ? "ngram" : null,
		scores: {
			ngram_rules: rules.length,
			ngram_precision: scores.precision,
			ngram_recall: scores.recall,
			ngram_f1: scores.f1,
			ngram_judged: scores.judged,
		},
	};
}

function sitesOf(passages: readonly Passage[], threshold: number): { active: Site[]; silent: Site[] } {
	const active: Site[] = [];
	const silent: Site[] = [];
	for (const { pieces, values } of passages) {
		for (const [at, value] of values.entries()) {
			if (value > 0 && value >= threshold) active.push({ pieces, at });
			else if (value <= 0) silent.push({ pieces, at });
		}
	}
	return { active, silent };
}

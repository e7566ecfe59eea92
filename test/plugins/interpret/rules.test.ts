/** Rules of tokens against contexts that were made by known rules, and shares of tokens in closed form. */
import { describe, expect, test } from "bun:test";
import { toyFeatures, toyWord } from "../../../core/conformance/features.ts";
import { CounterRng } from "../../../core/random.ts";
import ngram from "../../../plugins/interpret-ngram.ts";
import tokens from "../../../plugins/interpret-tokens.ts";
import { describe as inWords } from "../../../plugins/ngram/describe.ts";
import { learnRules, matches, type Rule, type Site } from "../../../plugins/ngram/rules.ts";
import { aFeature, anExample } from "../../core/interpret/features.ts";
import { explain } from "./explain.ts";

const WORDS = [" a", " b", " c", " d", " e", " f"];

/** Random text; `rule` says at which places a latent is active. */
function sites(rule: Rule, contexts = 120, length = 12, seed = 1): { active: Site[]; silent: Site[] } {
	const random = new CounterRng(seed);
	const active: Site[] = [];
	const silent: Site[] = [];
	for (let i = 0; i < contexts; i++) {
		const pieces = Array.from(
			{ length },
			(_, j) => WORDS[Math.floor(random.uniform(i * length + j) * WORDS.length)]!,
		);
		for (let at = 0; at < length; at++) {
			const site = { pieces, at };
			(matches(rule, site) ? active : silent).push(site);
		}
	}
	return { active, silent };
}

const is = (back: number, token: string) => ({ back, token, is: true });
const isNot = (back: number, token: string) => ({ back, token, is: false });

describe("the rule that made the contexts is found", () => {
	test.each<[string, Rule]>([
		['" a"', [is(0, " a")]],
		['" a" after " b"', [is(0, " a"), is(1, " b")]],
		['" a" after " b c"', [is(0, " a"), is(1, " c"), is(2, " b")]],
		['" a" unless after " b"', [is(0, " a"), isNot(1, " b")]],
		['any token after " b"', [is(1, " b")]],
		['" a" with " d" 2 tokens before', [is(0, " a"), is(2, " d")]],
	])("%s", (words, rule) => {
		const { active, silent } = sites(rule);
		const [found, ...others] = learnRules(active, silent, 4, 5);
		expect(others).toEqual([]);
		expect(inWords([found!])).toBe(words);
		expect(found!.toSorted((a, b) => a.back - b.back)).toEqual([...rule]);
	});

	test("also where there are two", () => {
		const [first, second] = [sites([is(0, " a")]), sites([is(0, " c"), is(1, " d")])];
		const active = [...first.active, ...second.active];
		const silent = first.silent.filter((site) => !matches([is(0, " c"), is(1, " d")], site));
		expect(inWords(learnRules(active, silent, 4, 5))).toBe('" a"; " c" after " d"');
	});
});

test("where tokens say nothing there is no rule", () => {
	const all = sites([]).active;
	const random = new CounterRng(9);
	const active = all.filter((_, i) => random.uniform(i) < 0.1);
	const silent = all.filter((_, i) => random.uniform(i) >= 0.1);
	expect(learnRules(active, silent, 4, 5)).toEqual([]);
});

test("a rule covers places that those before it leave, and no more rules are made than asked for", () => {
	const { active, silent } = sites([is(0, " a")]);
	const more = sites([is(0, " b")]).active;
	const others = silent.filter(({ pieces, at }) => pieces[at] !== " b");
	expect(learnRules([...active, ...more], others, 1, 5).length).toBe(2);
	expect(learnRules([...active, ...more], others, 1, 1).length).toBe(1);
	expect(learnRules([], silent, 4, 5)).toEqual([]);
});

test("latents of a word each are explained by it, and judged right on other passages", async () => {
	const { said } = await explain(ngram, toyFeatures(8), {});
	for (const [latent, { explanation, source, scores }] of said!.entries()) {
		expect(explanation).toBe(JSON.stringify(toyWord(latent)));
		expect(source).toBe("ngram");
		expect(scores).toMatchObject({ ngram_rules: 1, ngram_precision: 1, ngram_recall: 1, ngram_f1: 1 });
		expect(scores.ngram_judged).toBeGreaterThan(200);
	}
});

test("weak activations count neither as active nor as silent", async () => {
	const texts = [" x", " y", " z"];
	const examples = Array.from({ length: 12 }, (_, i) =>
		anExample([i % 2 ? 0.5 : 0, 10, 0], texts, { row: 100 * i + 1, at: 1 }),
	).map((example, i) => ({
		...example,
		texts: [...texts, ` ${i}`],
		values: Float32Array.of(...example.values, 0),
	}));
	const { said } = await explain(ngram, [aFeature({ count: 12, max: 10, top: examples })], {});
	expect(said![0]!.explanation).toBe('" y"');
	expect(said![0]!.scores).toMatchObject({ ngram_precision: 1, ngram_recall: 1 });
});

test("shares of tokens, and their entropy", async () => {
	const example = (text: string, row: number) => anExample([0, 1], [" .", text], { row });
	const samples = [" the", " the", " the", " the", " a", " a", " an", " x"].map(example);
	const { said } = await explain(tokens, [aFeature({ samples }), aFeature({ latent: 1 })], { share: 0.2 });
	expect(said![0]).toEqual({
		explanation: '" the" 50 %, " a" 25 %',
		source: "tokens",
		scores: {
			tokens_top_share: 0.5,
			// ½ · 1 + ¼ · 2 + 2 · ⅛ · 3 bits.
			tokens_entropy: 1.75,
			tokens_distinct: 4,
			tokens_counted: 8,
		},
	});
	expect(said![1]).toEqual({
		explanation: null,
		source: null,
		scores: { tokens_top_share: null, tokens_entropy: null, tokens_distinct: 0, tokens_counted: 0 },
	});
});

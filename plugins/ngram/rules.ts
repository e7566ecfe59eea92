/**
 * Rules of tokens: on which one a latent is active, after which others, and with which exceptions. In the manner of
 * Neuron-to-Graph (Foote et al. 2023, "Neuron to Graph: interpreting language model neurons at scale"), but learnt from
 * contexts that are there already, by covering them rule by rule (FOIL; Quinlan 1990, "Learning logical definitions from
 * relations"), instead of running the model on changed ones.
 */

/** A condition on the token `back` places before: that it is `token`, or is not. */
export interface Condition {
	readonly back: number;
	readonly token: string;
	readonly is: boolean;
}

/** Conditions that all must hold. */
export type Rule = readonly Condition[];

/** A place in a text. */
export interface Site {
	readonly pieces: readonly string[];
	readonly at: number;
}

/** Share of a rule's places that must be active: below it the rule is not worth saying. */
const WORTH = 0.5;
/** Active places that a rule must cover for each of its conditions, and silent ones that an exception must spare. */
const SUPPORT = 2;
const CONDITIONS = 4;

export function matches(rule: Rule, { pieces, at }: Site): boolean {
	return rule.every(({ back, token, is }) => (pieces[at - back] === token) === is);
}

/**
 * Rules, each of which covers active places that those before do not.
 *
 * @param tokens that a rule looks at: the place's own and those before.
 * @param limit rules, at most.
 */
export function learnRules(
	active: readonly Site[],
	silent: readonly Site[],
	tokens: number,
	limit: number,
): Rule[] {
	const rules: Rule[] = [];
	let left = active;
	while (rules.length < limit && left.length > 0) {
		const rule = pruned(grown(left, silent, tokens), left, silent);
		const covered = left.filter((site) => matches(rule, site));
		const wrong = coverage(rule, silent);
		// The more conditions a rule has, the more such rules there are, and the more of them fit by luck.
		const enough = covered.length >= Math.min(SUPPORT * rule.length, active.length);
		if (rule.length === 0 || !enough || covered.length < WORTH * (covered.length + wrong)) break;
		rules.push(rule);
		left = left.filter((site) => !matches(rule, site));
	}
	return rules;
}

/** Adds the condition that tells most, as long as one does and silent places are left. */
function grown(active: readonly Site[], silent: readonly Site[], tokens: number): Rule {
	let rule: Rule = [];
	let [p, n] = [active, silent];
	while (n.length > 0 && rule.length < CONDITIONS) {
		const condition = bestCondition(p, n, tokens);
		if (!condition) break;
		rule = [...rule, condition];
		p = p.filter((site) => matches([condition], site));
		n = n.filter((site) => matches([condition], site));
	}
	return rule;
}

function bestCondition(
	active: readonly Site[],
	silent: readonly Site[],
	tokens: number,
): Condition | undefined {
	const before = Math.log2(active.length / (active.length + silent.length));
	let best: Condition | undefined;
	let most = 1e-9;
	for (let back = 0; back < tokens; back++) {
		const [p, n] = [countsAt(active, back), countsAt(silent, back)];
		for (const token of new Set([...p.keys(), ...n.keys()])) {
			const [with_p, with_n] = [p.get(token) ?? 0, n.get(token) ?? 0];
			const choices = [
				[true, with_p, with_n],
				[false, active.length - with_p, silent.length - with_n],
			] as const;
			for (const [is, covered, wrong] of choices) {
				if (covered === 0 || (!is && with_n < SUPPORT)) continue;
				const gain = covered * (Math.log2(covered / (covered + wrong)) - before);
				if (gain <= most) continue;
				most = gain;
				best = { back, token, is };
			}
		}
	}
	return best;
}

function countsAt(sites: readonly Site[], back: number): Map<string, number> {
	const counts = new Map<string, number>();
	for (const { pieces, at } of sites) {
		const token = pieces[at - back];
		if (token !== undefined) counts.set(token, (counts.get(token) ?? 0) + 1);
	}
	return counts;
}

/** Without conditions that exclude at least as many active places as silent ones: most of them are luck. */
function pruned(rule: Rule, active: readonly Site[], silent: readonly Site[]): Rule {
	let kept = rule;
	const worth = (candidate: Rule) => coverage(candidate, active) - coverage(candidate, silent);
	for (const condition of rule) {
		const without = kept.filter((other) => other !== condition);
		if (without.length > 0 && worth(without) >= worth(kept)) kept = without;
	}
	return kept;
}

function coverage(rule: Rule, sites: readonly Site[]): number {
	return sites.filter((site) => matches(rule, site)).length;
}

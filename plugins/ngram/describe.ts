/** Rules of tokens in words. */
import type { Rule } from "./rules.ts";

/** A sentence such as `" the" after " of"; " a" unless after " such"`. */
export function describe(rules: readonly Rule[]): string {
	const groups = new Map<string, string[]>();
	for (const rule of rules) {
		const own = rule.find(({ back, is }) => back === 0 && is);
		const rest = contextOf(rule);
		groups.set(rest, [...(groups.get(rest) ?? []), own ? quoted(own.token) : "any token"]);
	}
	return [...groups].map(([rest, tokens]) => `${either(tokens)}${rest}`).join("; ");
}

function contextOf(rule: Rule): string {
	const at = (back: number, is: boolean) =>
		rule.filter((one) => one.back === back && one.is === is).map(({ token }) => token);
	const parts: string[] = [];
	const barred = at(0, false);
	if (barred.length > 0) parts.push(`but ${either(barred.map(quoted))}`);
	let run = 0;
	while (at(run + 1, true).length > 0) run++;
	const before = Array.from({ length: run }, (_, i) => at(run - i, true)[0]!);
	if (run > 0) parts.push(`after ${quoted(before.join(""))}`);
	const last = Math.max(0, ...rule.map(({ back }) => back));
	for (let back = run + 2; back <= last; back++) {
		for (const token of at(back, true)) parts.push(`with ${quoted(token)} ${back} tokens before`);
	}
	for (let back = 1; back <= last; back++) {
		const tokens = at(back, false);
		if (tokens.length === 0) continue;
		const named = either(tokens.map(quoted));
		parts.push(back === 1 ? `unless after ${named}` : `unless ${named} is ${back} tokens before`);
	}
	return parts.map((part) => ` ${part}`).join("");
}

function quoted(text: string): string {
	return JSON.stringify(text);
}

function either(items: readonly string[]): string {
	return items.length < 2 ? (items[0] ?? "") : `${items.slice(0, -1).join(", ")} or ${items.at(-1)}`;
}

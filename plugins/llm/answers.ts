/** Reads what language models answer, which is seldom exactly what they were asked for. */

/** What a reasoning model thought before it answered is not the answer. */
function withoutThoughts(answer: string): string {
	return answer.replace(/<think(?:ing)?>[\s\S]*?(?:<\/think(?:ing)?>|$)/gi, "").trim();
}

const LONGEST = 600;

/** The explanation after the last `EXPLANATION:`, or an answer that is one line; undefined for anything else. */
export function readExplanation(answer: string): string | undefined {
	const text = withoutThoughts(answer);
	const labelled = [...text.matchAll(/\bexplanation\b[\s*_\]]*:[\s*_]*([^\n]+)/gi)].at(-1)?.[1];
	const lines = text.split("\n").filter((line) => line.trim() !== "");
	const found = tidy(labelled ?? (lines.length === 1 ? lines[0]! : ""));
	return found !== "" && found.length <= LONGEST ? found : undefined;
}

/** Without the emphasis, brackets and quotation marks that are around the whole. */
function tidy(text: string): string {
	let inner = text.replace(/^[\s*_]+|[\s*_]+$/g, "");
	const pairs = [/^"([^"]+)"$/, /^“([^”]+)”$/, /^\[([^\]]+)\]$/, /^`([^`]+)`$/];
	for (const pair of pairs) inner = pair.exec(inner)?.[1]?.trim() ?? inner;
	return inner;
}

const YES = new Set(["1", "true", "yes"]);
const NO = new Set(["0", "false", "no"]);

/** `count` answers of yes and no: a list such as `[1, 0]`, the last one there is, or the bare figures. */
export function readDecisions(answer: string, count: number): boolean[] | undefined {
	const text = withoutThoughts(answer);
	const lists = [...text.matchAll(/\[([^[\]]*)\]/g)].map(([, inside]) => inside!).reverse();
	for (const list of [...lists, text]) {
		const words = list
			.split(/[\s,;]+/)
			.map((word) => word.replace(/^["'`]+|["'`.]+$/g, "").toLowerCase())
			.filter((word) => word !== "");
		if (words.length === count && words.every((word) => YES.has(word) || NO.has(word))) {
			return words.map((word) => YES.has(word));
		}
	}
	return undefined;
}

/** The one number from 1 to `count` that an answer names, or the one after `ANSWER:`. */
export function readChoice(answer: string, count: number): number | undefined {
	const text = withoutThoughts(answer);
	const last = /answer\s*\**:\s*\D{0,12}(\d+)[^\d]*$/i.exec(text)?.[1];
	const named = last === undefined ? text.match(/\d+/g) : [last];
	const numbers = new Set(named?.map(Number));
	const [only] = numbers;
	return numbers.size === 1 && only !== undefined && only >= 1 && only <= count ? only : undefined;
}

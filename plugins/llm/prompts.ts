/** What language models are asked. Passages are shown with marks around what a latent is active on. */
import type { Passage } from "saeflow";

export interface Message {
	readonly role: "system" | "user";
	readonly content: string;
}

export interface Request {
	readonly messages: readonly Message[];
	/** An answer as long as the one to expect, for estimates. */
	readonly expected: string;
}

/** Share of a passage's largest activation from which a token is marked. */
const MARKED = 0.3;

/** Which pieces of a passage are marked. */
export function activePieces({ values }: Passage): boolean[] {
	const largest = Math.max(...values);
	return Array.from(values, (value) => value > 0 && value > MARKED * largest);
}

/** A passage's text; runs of marked pieces share a pair of marks. */
export function marked({ pieces }: Passage, flags: readonly boolean[]): string {
	return pieces
		.map((piece, i) => {
			const open = flags[i] && !flags[i - 1] ? "<<" : "";
			const close = flags[i] && !flags[i + 1] ? ">>" : "";
			return `${open}${piece}${close}`;
		})
		.join("");
}

function plain({ pieces }: Passage): string {
	return pieces.join("");
}

function listed(texts: readonly string[]): string {
	return texts.map((text, i) => `--- ${i + 1} ---\n${text}`).join("\n\n");
}

/** Whether rows are whole texts, so that there is nothing within them to mark. */
export function areWholeTexts(passages: readonly Passage[]): boolean {
	return passages.every(({ pieces }) => pieces.length === 1);
}

const TASK =
	"A latent is one number inside a neural network; it is zero on most inputs. You find out what a latent stands for.";

const EXPLAIN_TOKENS = `${TASK}
You get passages in which it is not zero. The tokens that raise it stand between << and >>, and after each passage these tokens are repeated with how strong it is there, from 1 to 10.
Look for what the marked tokens share: the token itself, its meaning or grammatical part, what comes before it, or what the passage is about. Someone who reads only your explanation must be able to tell where the latent is active in new text, so be as specific as the passages allow, and no more specific than all of them bear out. Weak passages may show what is left out by strong ones.
Answer with a thought or two if you need them, and then one last line of this form, without marks and under 30 words:
EXPLANATION: ...`;

const EXPLAIN_TEXTS = `${TASK}
You get texts for which it is not zero, each with how strong it is, from 1 to 10.
Look for what they share in topic, method, form or tone. Someone who reads only your explanation must be able to tell for which new texts the latent is active, so be as specific as the texts allow, and no more specific than all of them bear out.
Answer with a thought or two if you need them, and then one last line of this form, under 30 words:
EXPLANATION: ...`;

/** Tokens whose strength is spelled out after a passage. */
const LISTED = 8;

/** Asks what passages have in common. */
export function explainRequest(passages: readonly Passage[]): Request {
	const whole = areWholeTexts(passages);
	const largest = Math.max(...passages.flatMap(({ values }) => Array.from(values)));
	const strength = (value: number) => Math.max(1, Math.round((10 * value) / largest));
	const texts = passages.map((passage) => {
		const { pieces, values } = passage;
		if (whole) return `${plain(passage)}\n(strength ${strength(values[0]!)})`;
		const flags = activePieces(passage);
		const strongest = [...pieces.keys()]
			.filter((i) => flags[i])
			.sort((a, b) => values[b]! - values[a]!)
			.slice(0, LISTED);
		const strengths = strongest.map((i) => `${JSON.stringify(pieces[i])} ${strength(values[i]!)}`);
		return `${marked(passage, flags)}\n(${strengths.join(", ")})`;
	});
	return {
		messages: [
			{ role: "system", content: whole ? EXPLAIN_TEXTS : EXPLAIN_TOKENS },
			{ role: "user", content: listed(texts) },
		],
		expected: `EXPLANATION: ${"a word or two ".repeat(7)}`,
	};
}

const figures = (count: number) =>
	`Answer with nothing but a list of ${count} ${count === 1 ? "figure" : "figures"}, 1 for yes and 0 for no, in the order of the passages, e.g. [${Array.from({ length: count }, (_, i) => (i + 1) % 2).join(", ")}].`;

function judgeRequest(task: string, explanation: string, texts: readonly string[]): Request {
	return {
		messages: [
			{ role: "system", content: `${task} ${figures(texts.length)}` },
			{ role: "user", content: `Explanation: ${explanation}\n\n${listed(texts)}` },
		],
		expected: `[${texts.map(() => "1").join(", ")}]`,
	};
}

/** Asks in which passages, shown without marks, the explanation says that the latent is active. */
export function detectionRequest(explanation: string, passages: readonly Passage[]): Request {
	return judgeRequest(
		"You get an explanation of what a latent of a neural network is active on, and some passages. For each passage say whether anything in it fits the explanation, so that the latent should be active somewhere in it. Any number of them may fit, all or none.",
		explanation,
		passages.map(plain),
	);
}

/** Asks in which passages the marks, which may be elsewhere than they should be, are what the explanation says. */
export function fuzzingRequest(explanation: string, texts: readonly string[]): Request {
	return judgeRequest(
		"You get an explanation of what a latent of a neural network is active on, and some passages with tokens between << and >>. For each passage say whether the marks are where the explanation would put them. In some passages they were put on other tokens.",
		explanation,
		texts,
	);
}

/** Asks which passage is not like the others, without an explanation. */
export function intruderRequest(texts: readonly string[], whole: boolean): Request {
	const what = whole
		? "Read the texts and find what all but one of them have in common. One was put in by chance."
		: "What stands between << and >> has something in common in all passages but one: the tokens, their meaning, or what they follow. In one passage the marks were put by chance.";
	return {
		messages: [
			{
				role: "system",
				content: `${what} Which number is it? Answer with nothing but that number, 1 to ${texts.length}.`,
			},
			{ role: "user", content: listed(texts) },
		],
		expected: "1",
	};
}

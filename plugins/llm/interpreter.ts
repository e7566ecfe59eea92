/**
 * Explains latents by asking a language model, and judges explanations by whether a model that reads only them can tell
 * passages of a latent from others: detection, fuzzing (Paulo et al. 2024, "Automatically interpreting millions of
 * features"), and the intruder test, which needs no explanation.
 */
import type {
	Core,
	Feature,
	Interpretation,
	Interpreter,
	LatentToExplain,
	Negatives,
	Passage,
	PassagePool,
	Split,
} from "saeflow";
import { ratio, SCORES, scoresOf } from "../shared/scores.ts";
import { readChoice, readDecisions, readExplanation } from "./answers.ts";
import {
	activePieces,
	areWholeTexts,
	detectionRequest,
	explainRequest,
	fuzzingRequest,
	intruderRequest,
	marked,
	type Request,
} from "./prompts.ts";

/** Answers requests: a server, or what stands in for one in an estimate. */
export interface Chat {
	/** Undefined where there is no answer to this request. */
	ask(request: Request): Promise<string | undefined>;
}

export const TESTS = ["detection", "fuzzing", "intruder"] as const;
export type Test = (typeof TESTS)[number];

export interface Settings {
	/** Who explains. */
	readonly model: string;
	readonly tests: readonly Test[];
	/** Passages that explanations are made of, and active ones that they are judged on, at most. */
	readonly shown: number;
	readonly held_out: number;
	/** Passages in one question. */
	readonly per_question: number;
	/** Tests for intruders. */
	readonly intruders: number;
	readonly seed: number;
	/** Judge the explanations that there are, instead of asking for new ones. */
	readonly given: boolean;
}

/** Passages of an intruder test, the intruder included; chance is one in so many. */
const LINE_UP = 5;

/** Labels of the streams of random numbers of a latent. */
const DRAWS = { detection: 1, fuzzing: 2, intruder: 3 } as const;

function columnsOf(tests: readonly Test[]): string[] {
	const columns = {
		detection: SCORES.map((name) => `detection_${name}`),
		fuzzing: SCORES.map((name) => `fuzzing_${name}`),
		intruder: ["accuracy", "judged", "failed"].map((name) => `intruder_${name}`),
	};
	return [...tests.flatMap((test) => columns[test]), "negatives_doubt", "explanation_failed"];
}

export function interpreter(core: Core, chat: Chat, pool: PassagePool, settings: Settings): Interpreter {
	return {
		columns: columnsOf(settings.tests),
		async interpret(latent) {
			const { feature } = latent;
			const split = core.splitExamples(feature, settings.shown, settings.held_out);
			const negatives = pool.negatives(feature, split.heldOut.length, settings.seed);
			const { explanation, source, failed } = await explain(chat, latent, split, settings);
			const about = { core, chat, feature, heldOut: split.heldOut, negatives, settings };
			const parts = await Promise.all(
				settings.tests.map((test) => {
					if (test === "intruder") return findIntruders(about);
					if (explanation === null) return {};
					return test === "detection" ? detect(about, explanation) : fuzz(about, explanation);
				}),
			);
			const doubt = negatives.passages.length > 0 ? negatives.doubt : null;
			return {
				explanation,
				source,
				scores: Object.assign({ negatives_doubt: doubt, explanation_failed: failed }, ...parts),
			};
		},
	};
}

async function explain(
	chat: Chat,
	given: LatentToExplain,
	{ shown }: Split,
	settings: Settings,
): Promise<Pick<Interpretation, "explanation" | "source"> & { readonly failed: number }> {
	if (settings.given) return { explanation: given.explanation, source: given.source, failed: 0 };
	if (shown.length === 0) return { explanation: null, source: null, failed: 0 };
	const answer = await chat.ask(explainRequest(shown));
	const explanation = answer === undefined ? undefined : readExplanation(answer);
	if (explanation === undefined) return { explanation: null, source: null, failed: 1 };
	return { explanation, source: settings.model, failed: 0 };
}

interface About {
	readonly core: Core;
	readonly chat: Chat;
	readonly feature: Feature;
	readonly heldOut: readonly Passage[];
	readonly negatives: Negatives;
	readonly settings: Settings;
}

type Figures = Interpretation["scores"];

interface Item<T> {
	readonly shown: T;
	readonly truth: boolean;
}

async function detect(about: About, explanation: string): Promise<Figures> {
	const { heldOut, negatives } = about;
	const items = [
		...heldOut.map((shown): Item<Passage> => ({ shown, truth: true })),
		...negatives.passages.map((shown): Item<Passage> => ({ shown, truth: false })),
	];
	return judge(about, "detection", items, (passages) => detectionRequest(explanation, passages));
}

/** Every held-out passage comes twice: with the marks where they belong, and with as many on silent tokens. */
async function fuzz(about: About, explanation: string): Promise<Figures> {
	const { heldOut } = about;
	const shuffled = shuffler(about, "fuzzing");
	const items = heldOut.flatMap((passage): Item<string>[] => {
		const right = activePieces(passage);
		const wrong = misplaced(passage, countOf(right), shuffled);
		if (!wrong) return [];
		return [
			{ shown: marked(passage, right), truth: true },
			{ shown: marked(passage, wrong), truth: false },
		];
	});
	return judge(about, "fuzzing", items, (texts) => fuzzingRequest(explanation, texts));
}

/** `count` marks, or as many as there is room for, on tokens that are not active; undefined where none is. */
function misplaced({ values }: Passage, count: number, shuffled: Shuffle): boolean[] | undefined {
	const silent = [...values.keys()].filter((i) => values[i]! <= 0);
	if (silent.length === 0) return undefined;
	const chosen = new Set(shuffled(silent).slice(0, count));
	return Array.from(values, (_, i) => chosen.has(i));
}

function countOf(flags: readonly boolean[]): number {
	return flags.filter(Boolean).length;
}

async function judge<T>(
	about: About,
	test: "detection" | "fuzzing",
	items: readonly Item<T>[],
	request: (shown: readonly T[]) => Request,
): Promise<Figures> {
	const { chat, settings } = about;
	const order = shuffler(about, test)(items);
	const answers = await Promise.all(
		chunks(order, settings.per_question).map(async (some) => {
			const answer = await chat.ask(request(some.map(({ shown }) => shown)));
			const read = answer === undefined ? undefined : readDecisions(answer, some.length);
			return some.map((_, i) => read?.[i]);
		}),
	);
	const figures = scoresOf({ truth: order.map(({ truth }) => truth), answers: answers.flat() });
	return Object.fromEntries(SCORES.map((name) => [`${test}_${name}`, figures[name]]));
}

async function findIntruders(about: About): Promise<Figures> {
	const { chat, heldOut, negatives, settings } = about;
	const shuffled = shuffler(about, "intruder");
	const whole = areWholeTexts(heldOut);
	const enough = heldOut.length >= LINE_UP - 1;
	const strangers = enough ? shuffled(negatives.passages).slice(0, settings.intruders) : [];
	const answers = await Promise.all(
		strangers.map(async (stranger) => {
			const others = shuffled(heldOut)
				.slice(0, LINE_UP - 1)
				.map((passage) => ({ passage, flags: whole ? [] : activePieces(passage) }));
			const marks = Math.max(1, Math.round(countOf(others.flatMap(({ flags }) => flags)) / others.length));
			const wrong = whole ? [] : misplaced(stranger, marks, shuffled)!;
			const lineUp = shuffled([...others, { passage: stranger, flags: wrong }]);
			const texts = lineUp.map(({ passage, flags }) => marked(passage, flags));
			const answer = await chat.ask(intruderRequest(texts, whole));
			const choice = answer === undefined ? undefined : readChoice(answer, LINE_UP);
			return choice === undefined ? undefined : lineUp[choice - 1]!.passage === stranger;
		}),
	);
	const judged = answers.filter((answer) => answer !== undefined);
	return {
		intruder_accuracy: ratio(countOf(judged), judged.length),
		intruder_judged: judged.length,
		intruder_failed: answers.length - judged.length,
	};
}

type Shuffle = <T>(items: readonly T[]) => T[];

/** Shuffles as it does at every run; every call has an order of its own. */
function shuffler({ core, feature, settings }: About, test: Test): Shuffle {
	const rng = new core.CounterRng(settings.seed).derive(feature.latent).derive(DRAWS[test]);
	let calls = 0;
	return (items) => Array.from(core.permutation(rng.derive(calls++), items.length), (i) => items[i]!);
}

function chunks<T>(items: readonly T[], size: number): T[][] {
	return Array.from({ length: Math.ceil(items.length / size) }, (_, i) =>
		items.slice(i * size, (i + 1) * size),
	);
}

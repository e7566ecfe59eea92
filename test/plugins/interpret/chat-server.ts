/** A server of chat completions whose answers are scripted; it reads requests as a model would, from their text alone. */

export interface Question {
	readonly kind: "explain" | "detection" | "fuzzing" | "intruder";
	/** The explanation that it is about, if it is about one. */
	readonly explanation: string | undefined;
	readonly passages: readonly string[];
}

export type Judge = (question: Question, number: number) => string | Response;

export interface ChatServer {
	/** Up to /v1. */
	readonly url: string;
	/** Bodies of requests as they came. */
	readonly requests: readonly Record<string, unknown>[];
	/** Requests that were answered at the same time, at most. */
	readonly most: () => number;
	readonly headers: readonly Headers[];
	stop(): Promise<void>;
}

export function chatServer(judge: Judge, milliseconds = 0): ChatServer {
	const requests: Record<string, unknown>[] = [];
	const headers: Headers[] = [];
	let now = 0;
	let most = 0;
	const server = Bun.serve({
		port: 0,
		hostname: "127.0.0.1",
		async fetch(request) {
			if (new URL(request.url).pathname !== "/v1/chat/completions") return new Response("", { status: 404 });
			const body = (await request.json()) as { messages: { content: string }[] };
			const number = requests.push(body) - 1;
			headers.push(request.headers);
			most = Math.max(most, ++now);
			await Bun.sleep(milliseconds);
			now--;
			const answer = judge(questionIn(body.messages.map(({ content }) => content)), number);
			return answer instanceof Response ? answer : completion(answer);
		},
	});
	return {
		url: `${server.url}v1`,
		requests,
		headers,
		most: () => most,
		stop: () => server.stop(true),
	};
}

export function completion(content: string | null): Response {
	return Response.json({
		choices: [{ message: { role: "assistant", content } }],
		usage: { prompt_tokens: 10, completion_tokens: 2 },
	});
}

function questionIn([system = "", user = ""]: readonly string[]): Question {
	const passages = user.split(/(?:^|\n\n)--- \d+ ---\n/).slice(1);
	const explanation = /^Explanation: (.*)$/m.exec(user)?.[1];
	if (/EXPLANATION:/.test(system)) return { kind: "explain", explanation, passages };
	if (explanation === undefined) return { kind: "intruder", explanation, passages };
	return { kind: /marks are where/.test(system) ? "fuzzing" : "detection", explanation, passages };
}

/** What is between marks. */
export function markedIn(passage: string): string[] {
	return [...passage.matchAll(/<<(.*?)>>/gs)].map(([, inside]) => inside!);
}

/** Explains by the word that is marked everywhere, and judges by whether it is there. */
export const oracle: Judge = ({ kind, explanation, passages }) => {
	const list = (answers: boolean[]) => JSON.stringify(answers.map(Number));
	if (kind === "explain") {
		const [first, ...others] = passages.map((passage) => new Set(markedIn(passage)));
		const shared = [...first!].filter((word) => others.every((set) => set.has(word)));
		return `They share a word.\nEXPLANATION: the word${shared.join(" or")}`;
	}
	if (kind === "intruder") {
		const words = passages.map((passage) => markedIn(passage).join());
		return String(1 + words.findIndex((word) => words.filter((other) => other === word).length === 1));
	}
	const word = /^the word( .*)$/.exec(explanation!)?.[1] ?? explanation!;
	const has = (text: string) => new RegExp(`${word}(?!\\d)`).test(text);
	if (kind === "detection") return list(passages.map(has));
	return list(passages.map((passage) => markedIn(passage).every((text) => text === word)));
};

/** Finds given words in text, as a tokenizer does its special tokens. Runs in a browser too. */

/** What has been read of some words; by character code, what may come next. */
interface Node {
	readonly next: Map<number, Node>;
	isWord: boolean;
}

/** Cuts texts into these words, the longest where several begin, and what is between them; nothing is empty. */
export function splitter(words: readonly string[]): (text: string) => string[] {
	const root: Node = { next: new Map(), isWord: false };
	for (const word of words) {
		let node = root;
		for (let i = 0; i < word.length; i++) {
			const code = word.charCodeAt(i);
			if (!node.next.has(code)) node.next.set(code, { next: new Map(), isWord: false });
			node = node.next.get(code)!;
		}
		node.isWord = true;
	}
	const firsts = [...root.next.keys()].map((code) => `\\u${code.toString(16).padStart(4, "0")}`);
	// A pattern finds a place where a word may begin many times as fast as a loop.
	const first = new RegExp(`[${firsts.join("")}]`, "g");
	return (text) => {
		const sections: string[] = [];
		let start = 0;
		first.lastIndex = 0;
		while (first.test(text)) {
			const at = first.lastIndex - 1;
			const end = endOfWord(root, text, at);
			if (end === at) continue;
			if (start < at) sections.push(text.slice(start, at));
			sections.push(text.slice(at, end));
			start = first.lastIndex = end;
		}
		if (start < text.length) sections.push(text.slice(start));
		return sections;
	};
}

function endOfWord(root: Node, text: string, from: number): number {
	let end = from;
	let node = root.next.get(text.charCodeAt(from));
	for (let at = from + 1; node; at++) {
		if (node.isWord) end = at;
		node = node.next.get(text.charCodeAt(at));
	}
	return end;
}

/** Lays out help pages. Plain text, to stdout when asked for, wrapped to the terminal. */
import type { Flag } from "./flags.ts";

export interface HelpPage {
	/** One line: what it is for. */
	readonly summary: string;
	readonly usage: string;
	readonly details?: string | undefined;
	readonly examples: readonly Example[];
	readonly sections: readonly HelpSection[];
}

export interface Example {
	readonly command: string;
	readonly note?: string;
}

export interface HelpSection {
	readonly title: string;
	/** Left column and its explanation. */
	readonly rows: readonly (readonly [term: string, text: string])[];
}

const MAX_WIDTH = 100;
const MAX_TERM = 26;

/** Width of text for this terminal. */
export function columns(): number {
	return Math.min(process.stdout.columns || MAX_WIDTH, MAX_WIDTH);
}

export function renderHelp(page: HelpPage, width = columns()): string {
	const blocks = [wrap(page.summary, width).join("\n"), `Usage: ${page.usage}`];
	if (page.details)
		blocks.push(
			page.details
				.split("\n")
				.flatMap((text) => wrap(text, width))
				.join("\n"),
		);
	if (page.examples.length > 0) blocks.push(renderExamples(page.examples));
	for (const section of page.sections) {
		if (section.rows.length > 0) blocks.push(renderSection(section, width));
	}
	return `${blocks.join("\n\n")}\n`;
}

/** The help section of a group of flags. */
export function flagSection(title: string, flags: readonly Flag[]): HelpSection {
	return { title, rows: flags.map((flag) => [flagTerm(flag), flagText(flag)]) };
}

function flagTerm(flag: Flag): string {
	if (flag.type === "boolean") return flag.default === true ? `--[no-]${flag.name}` : `--${flag.name}`;
	const choices = flag.choices.join("|");
	return `--${flag.name} ${choices !== "" && choices.length <= 32 ? choices : flag.hint}`;
}

function flagText(flag: Flag): string {
	const notes: string[] = [];
	if (flag.repeated) notes.push("may be repeated");
	if (flag.required) notes.push("required");
	if (flag.default !== undefined && flag.default !== false && !isEmpty(flag.default)) {
		notes.push(flag.type === "boolean" ? "on by default" : `default ${show(flag.default)}`);
	}
	const choices = flag.choices.join("|").length > 32 ? `One of ${flag.choices.join(", ")}.` : "";
	return [flag.summary, choices, notes.length > 0 ? `(${notes.join(", ")})` : ""].filter(Boolean).join(" ");
}

function isEmpty(value: unknown): boolean {
	return Array.isArray(value) && value.length === 0;
}

function show(value: unknown): string {
	return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function renderExamples(examples: readonly Example[]): string {
	const lines = examples.flatMap(({ command, note }) => [
		...(note ? [`  # ${note}`] : []),
		...command.split("\n").map((line) => `  ${line}`),
	]);
	return [examples.length > 1 ? "Examples:" : "Example:", ...lines].join("\n");
}

export function renderSection(section: HelpSection, width: number): string {
	const terms = section.rows.map(([term]) => term.length).filter((length) => length <= MAX_TERM);
	const column = Math.max(...terms, 8) + 4;
	const rows = section.rows.flatMap(([term, text]) => {
		const lines = wrap(text, width - column);
		const head = `  ${term}`;
		if (term.length > MAX_TERM) return [head, ...lines.map((line) => " ".repeat(column) + line)];
		return [head.padEnd(column) + (lines[0] ?? ""), ...lines.slice(1).map((l) => " ".repeat(column) + l)];
	});
	return [`${section.title}:`, ...rows.map((row) => row.trimEnd())].join("\n");
}

/** Breaks text at spaces into lines of at most `width` characters, where the words allow it. */
function wrap(text: string, width: number): string[] {
	const lines: string[] = [];
	let line = "";
	for (const word of text.split(" ")) {
		if (line !== "" && line.length + 1 + word.length > width) {
			lines.push(line);
			line = word;
		} else {
			line = line === "" ? word : `${line} ${word}`;
		}
	}
	return [...lines, line];
}

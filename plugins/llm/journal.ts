/** Answers that are kept in a file, so that what was asked before, perhaps by a run that was cut off, is not asked again. */
import { createHash } from "node:crypto";
import { appendFile, mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import type { Core } from "saeflow";
import type { Chat } from "./interpreter.ts";
import type { Request } from "./prompts.ts";

export interface Journal {
	/** The answer that is kept. */
	lookUp(request: Request): string | undefined;
	/** Asks for what is not in the file, and adds it. */
	through(chat: Chat): Chat;
	/** Waits for what is being written. */
	close(): Promise<void>;
}

/**
 * A journal of JSON lines, each with the hash of a request and its answer. The last line may be incomplete.
 *
 * @param setting what answers depend on besides the request, e.g. the model.
 * @throws SaeError for a file of another kind.
 */
export async function openJournal(core: Core, path: string, setting: unknown): Promise<Journal> {
	const answers = parse(core, path, await read(core, path));
	const keyOf = ({ messages }: Request) =>
		createHash("sha256")
			.update(JSON.stringify([setting, messages]))
			.digest("hex")
			.slice(0, 32);
	/** One line is written at a time. */
	let writing: Promise<unknown> | undefined;
	const append = async (line: string) => {
		writing = (writing ?? mkdir(dirname(path), { recursive: true })).then(() => appendFile(path, line));
		await writing.catch((error: NodeJS.ErrnoException) => {
			throw new core.SaeError(`${path}: can't be written (${error.code}); --answers names another file`);
		});
	};
	return {
		lookUp: (request) => answers.get(keyOf(request)),
		through: (chat) => ({
			async ask(request) {
				const key = keyOf(request);
				const known = answers.get(key);
				if (known !== undefined) return known;
				const answer = await chat.ask(request);
				if (answer === undefined) return undefined;
				answers.set(key, answer);
				// A line that was cut off would swallow the next one: every line begins anew.
				await append(`\n${JSON.stringify({ key, answer })}`);
				return answer;
			},
		}),
		close: async () => {
			// A failure has been told to who asked.
			await writing?.catch(() => {});
		},
	};
}

async function read(core: Core, path: string): Promise<string> {
	return readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
		if (error.code === "ENOENT") return "";
		throw new core.SaeError(`${path}: can't be read (${error.code}); --answers names another file`);
	});
}

function parse(core: Core, path: string, text: string): Map<string, string> {
	const lines = text.split("\n").filter((line) => line !== "");
	const entries = lines.flatMap((line): [string, string][] => {
		try {
			const { key, answer } = JSON.parse(line);
			return typeof key === "string" && typeof answer === "string" ? [[key, answer]] : [];
		} catch {
			return [];
		}
	});
	if (lines.length > 1 && entries.length === 0) {
		throw new core.SaeError(`${path}: is no file of answers; --answers names one, or a new one`);
	}
	return new Map(entries);
}

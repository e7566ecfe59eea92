/** Runs the real `sae` process. */
import { join } from "node:path";

export const MAIN = join(import.meta.dir, "../../cli/main.ts");

export interface Ended {
	readonly stdout: string;
	readonly stderr: string;
	readonly exitCode: number;
}

/** Starts `sae` with these words. */
export function start(
	words: readonly string[],
	env: Readonly<Record<string, string>> = {},
	stdin: "ignore" | ReadableStream = "ignore",
) {
	return Bun.spawn({
		cmd: [process.execPath, MAIN, ...words],
		env: { ...process.env, ...env },
		stdin,
		stdout: "pipe",
		stderr: "pipe",
	});
}

/** Runs `sae` with these words to its end. */
export function sae(words: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> {
	return ended(start(words, env));
}

/** Runs a line of bash in which `sae` is the real one; the exit code, stdout and stderr are bash's. */
export function shell(line: string): Promise<Ended> {
	const script = `sae() { "${process.execPath}" "${MAIN}" "$@"; }\n${line}`;
	return ended(Bun.spawn({ cmd: ["bash", "-c", script], stdin: "ignore", stdout: "pipe", stderr: "pipe" }));
}

export async function ended(
	child: Pick<Bun.Subprocess<"ignore", "pipe", "pipe">, "stdout" | "stderr" | "exited">,
): Promise<Ended> {
	const [stdout, stderr, exitCode] = await Promise.all([
		new Response(child.stdout).text(),
		new Response(child.stderr).text(),
		child.exited,
	]);
	return { stdout, stderr, exitCode };
}

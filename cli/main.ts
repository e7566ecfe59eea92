#!/usr/bin/env bun
/** `sae`: finds the verb, runs it, and turns its failure into one line and an exit code. */
import { defineCommand, runCommand } from "citty";
import { EXIT, isSaeError, usageError } from "../core/errors.ts";
import packageJson from "../package.json" with { type: "json" };
import { renderHelp } from "./help.ts";
import { printText } from "./stdout.ts";
import { didYouMean } from "./suggest.ts";
import { VERBS } from "./verbs.ts";

const words = process.argv.slice(2);
const debug = words.includes("--debug");

const sae = defineCommand({
	meta: { name: "sae", version: packageJson.version, description: packageJson.description },
	subCommands: Object.fromEntries(Object.entries(VERBS).map(([name, verb]) => [name, verb.load])),
});

try {
	await main();
} catch (error) {
	report(error);
}
// What was written has been waited for; what may be left is a stream that nobody reads or fills any more.
process.exit();

async function main(): Promise<void> {
	const first = words[0];
	if (first === "--version") await printText(`${packageJson.version}\n`);
	else if (first === "--help" || first === "-h" || first === "help") await printText(overview());
	else if (first === "complete") await answerCompletion(words.slice(1));
	else if (first === undefined) {
		process.stderr.write(overview());
		process.exitCode = EXIT.usage;
	} else {
		// citty would look for aliases of an unknown verb by loading every verb there is.
		if (!Object.hasOwn(VERBS, first)) throw unknownVerb(first);
		await runCommand(sae, { rawArgs: words });
	}
}

/** For the scripts of `sae completion`: a candidate a line, with its explanation after a tab. */
async function answerCompletion(typed: readonly string[]): Promise<void> {
	const { complete } = await import("./complete.ts");
	const candidates = await complete(typed);
	await printText(candidates.map(({ word, summary }) => `${word}${summary && `\t${summary}`}\n`).join(""));
}

function unknownVerb(word: string): Error {
	const kind = word.startsWith("-") ? "option" : "command";
	const meant = didYouMean(word, [...Object.keys(VERBS), "--help", "--version"]);
	return usageError(`unknown ${kind} ${word}${meant || "; `sae --help` lists what there is"}`);
}

function overview(): string {
	return renderHelp({
		summary: `sae ${packageJson.version}: ${packageJson.description.replace(/^T/, "t")}.`,
		usage: "sae COMMAND [PLUGIN] [options]",
		details: "Commands read Arrow streams on stdin and write them to stdout, so they join with pipes.",
		examples: [
			{
				command:
					"sae activations file acts.safetensors | sae train topk --d-sae 2048 --k 32 --out my-sae\n" +
					"sae activations file acts.safetensors | sae eval reconstruction my-sae",
			},
		],
		sections: [
			{ title: "Commands", rows: Object.entries(VERBS).map(([name, verb]) => [name, verb.summary]) },
			{
				title: "Options",
				rows: [
					[
						"--help",
						"This page; `sae COMMAND --help` explains a command, `sae COMMAND PLUGIN --help` a plugin",
					],
					["--version", "Print the version"],
					["--debug", "With any command: more messages, and the stack of an error"],
				],
			},
			{
				title: "Exit codes",
				rows: [
					["0", "done (also when the reader of the output went away)"],
					["1", "an error that nobody foresaw: please report it"],
					["2", "the command line or a configuration file is wrong"],
					["3", "a file or stream is missing, damaged or of the wrong kind"],
					["4", "no usable GPU, out of its memory, or it was lost"],
					["5", "training stopped because its loss was no longer finite"],
					["130", "stopped by Ctrl-C or SIGTERM, after saving"],
				],
			},
		],
	});
}

function report(error: unknown): void {
	if (isSaeError(error) || isGpuError(error)) {
		for (const line of error.message.split("\n")) process.stderr.write(`sae: ${line}\n`);
		if (debug) process.stderr.write(`${error.stack}\n${causeOf(error)}`);
		process.exitCode = isSaeError(error) ? error.exitCode : EXIT.device;
	} else {
		const text = error instanceof Error ? (debug ? error.stack : `${error.name}: ${error.message}`) : error;
		const where = debug ? "" : " (--debug shows where)";
		process.stderr.write(`sae: unexpected failure, please report it${where}: ${text}\n`);
		process.exitCode = EXIT.internal;
	}
}

/** What is behind an error, e.g. one in a plugin's code. */
function causeOf({ cause }: Error): string {
	return cause instanceof Error ? `because of ${cause.stack ?? cause}\n` : "";
}

/** Failures of the device come from kernels/, which knows nothing of exit codes. */
function isGpuError(error: unknown): error is Error {
	return error instanceof Error && error.name === "GpuError";
}

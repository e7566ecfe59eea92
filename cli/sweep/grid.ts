/** From the words of a sweep to its SAEs: every combination of what was asked for. */
import { z } from "zod";
import { usageError } from "../../core/errors.ts";
import type { ArchitectureContribution } from "../../core/plugin.ts";
import type { OwnSettings } from "../../core/train/job.ts";
import { readNumber } from "../argv.ts";
import { type Flag, flagsOf, kebab } from "../flags.ts";
import { ownOptions, readSpec, type SaeSpec, specOptions } from "../sae-spec.ts";

/** One SAE of a sweep. Without a learning rate it has the trainer's for its d_sae. */
export interface GridSae extends OwnSettings {
	/** What sets it apart, e.g. `topk-k16-d-sae2048-seed0-lr0.001`: the name of its folder. */
	readonly name: string;
	readonly architecture: ArchitectureContribution;
	readonly options: Readonly<Record<string, unknown>>;
	readonly d_sae: number;
	readonly seed: number;
}

export interface Grid {
	readonly saes: readonly GridSae[];
	/** The options that the specs name, in their order, those that are columns of every sweep left out. */
	readonly varied: readonly string[];
}

/** Values for the SAEs whose `--sae` does not say them itself. Without learning rates each SAE has the trainer's. */
export interface Axes {
	readonly d_sae: readonly number[];
	readonly seed: readonly number[];
	readonly lr: readonly number[];
}

const Own = z.object(ownOptions);

/** A list of numbers as an option: `1,2`, or an array in a run file. */
export function numbers(item: z.ZodType<number, number>) {
	// What is no number passes as it is, and the items' schema says so.
	const split = (text: string) => text.split(",").map((part) => readNumber(part) ?? part) as number[];
	return z
		.union([z.number(), z.string(), z.array(z.number())])
		.transform((given) => (typeof given === "string" ? split(given) : [given].flat()))
		.pipe(z.array(item).min(1));
}

/**
 * Every SAE that the specs, each like `topk --k 8,16`, and the axes ask for, in their order.
 * @throws a usage error that names the words that are wrong, or the SAE that is asked for twice.
 */
export async function expandGrid(specs: readonly string[], axes: Axes): Promise<Grid> {
	const saes: GridSae[] = [];
	const varied = new Set<string>();
	for (const text of specs) {
		const spec = await readSpec(text);
		const { given, combinations } = alternatives(spec);
		const keys = given.map(({ key }) => key).filter((key) => !(key in axes));
		for (const key of keys) varied.add(key);
		for (const words of combinations) {
			const [own, options] = specOptions(spec, words, Own);
			const settings = Object.fromEntries(keys.map((key) => [key, { ...own, ...options }[key]]));
			for (const place of places(own, axes)) {
				const { architecture } = spec;
				const name = nameOf(architecture.name, { ...settings, ...place });
				saes.push({ name, architecture, options, ...own, ...place });
			}
		}
	}
	const twice = saes.find(({ name }, i) => saes.findIndex((other) => other.name === name) < i);
	if (twice) throw usageError(`the sweep asks for ${twice.name} twice`);
	return { saes, varied: [...varied] };
}

type Place = { readonly d_sae: number; readonly seed: number; readonly lr?: number };

/** The combinations of the axes, for an SAE that has values of its own on some. */
function places(own: z.output<typeof Own>, axes: Axes): Place[] {
	const along = (key: keyof Axes) => (own[key] === undefined ? axes[key] : [own[key]]);
	const rates = along("lr").map((lr) => ({ lr }));
	return along("d_sae").flatMap((d_sae) =>
		along("seed").flatMap((seed) =>
			(rates.length > 0 ? rates : [{}]).map((rate) => ({ d_sae, seed, ...rate })),
		),
	);
}

/** The combinations of a spec's words, and which options they name. */
function alternatives(spec: SaeSpec): { given: Flag[]; combinations: string[][] } {
	const flags = [...flagsOf(spec.architecture.options), ...flagsOf(Own)];
	const given = new Set<Flag>();
	let combinations: string[][] = [[]];
	for (const word of units(spec.words, flags)) {
		const [, name, value] = /^--([^=]+)(?:=(.*))?$/s.exec(word) ?? [];
		const flag = flags.find((candidate) => candidate.name === name || `no-${candidate.name}` === name);
		if (flag) given.add(flag);
		const values = flag && value !== undefined && isSplit(flag) ? value.split(",") : undefined;
		const choices = values ? values.map((one) => `--${name}=${one}`) : [word];
		combinations = combinations.flatMap((words) => choices.map((choice) => [...words, choice]));
	}
	return { given: [...given], combinations };
}

/** Words with each value joined to its flag: `--k 8` as `--k=8`. */
function units(words: readonly string[], flags: readonly Flag[]): string[] {
	const joined: string[] = [];
	for (let i = 0; i < words.length; i++) {
		const word = words[i]!;
		const flag = flags.find(({ name }) => word === `--${name}`);
		const takesNext = flag && flag.type !== "boolean" && words[i + 1] !== undefined;
		joined.push(takesNext ? `${word}=${words[++i]}` : word);
	}
	return joined;
}

/** Whether commas part the values of a sweep. In free text and in lists they may be part of one value. */
function isSplit(flag: Flag): boolean {
	return !flag.repeated && (flag.type !== "string" || flag.choices.length > 0);
}

function nameOf(architecture: string, settings: Readonly<Record<string, unknown>>): string {
	// A key that ends in a digit would run into its value.
	const parts = Object.entries(settings).map(
		([key, value]) => `${kebab(key).replace(/\d$/, "$&_")}${text(value)}`,
	);
	return [architecture, ...parts].join("-").replaceAll(/[^\w.-]/g, "");
}

function text(value: unknown): string {
	return typeof value === "object" ? JSON.stringify(value) : String(value);
}

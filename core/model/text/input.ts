/** What goes into a language model: options that say so, and the contexts that come of them. */
import { z } from "zod";
import { usageError } from "../../errors.ts";
import { openFile } from "../../files/bytes.ts";
import { expandPaths } from "../../files/patterns.ts";
import type { Part } from "../../part.ts";
import { openTokenizer } from "../folder.ts";
import type { ModelSpec } from "../spec.ts";
import type { TextTokenizer } from "../tokenizer.ts";
import { type Context, contextsOf, type Packing, type Padding, windowsOf } from "./contexts.ts";
import { readDocuments } from "./documents.ts";
import { checkIds, readTokenFiles } from "./token-files.ts";

/** Options of whatever reads text or token ids, to be spread into its own. */
export const textOptions = {
	tokens: z
		.array(z.string())
		.optional()
		.meta({ hint: "FILE" })
		.describe("Token ids ready made: an array [batch, position] or [tokens], or an Arrow column of lists"),
	tokens_name: z.string().default("input_ids").describe("That array or column"),
	text: z
		.array(z.string())
		.optional()
		.meta({ hint: "FILE" })
		.describe("Text to read, - for stdin: plain, JSON lines, Arrow or Parquet"),
	text_format: z
		.enum(["auto", "plain", "jsonl", "arrow", "parquet"])
		.default("auto")
		.describe("What the text files are; auto goes by their content and the ending .jsonl"),
	text_field: z.string().default("text").describe("Field or column that holds the text"),
	delimiter: z
		.string()
		.min(1)
		.optional()
		.meta({ hint: "TEXT" })
		.describe("What ends each document of a plain text file; else a file is a document"),
	packing: z
		.enum(["pack", "document"])
		.default("pack")
		.describe("Fill each context with documents one after the other, or begin one with each document"),
	separator: z
		.enum(["eos", "none"])
		.default("eos")
		.describe("What follows each document when they are packed"),
	bos: z
		.enum(["auto", "always", "never"])
		.default("auto")
		.describe("Whether each context of text begins with the BOS token; auto does as the tokenizer does"),
	context: z
		.int()
		.min(1)
		.optional()
		.describe("Tokens of a context at most; the model's, but not over 1024, unless given"),
};

export type TextOptions = z.output<z.ZodObject<typeof textOptions>>;

export interface TextInput {
	/** Where text is read; undefined where token ids come ready made. */
	readonly tokenizer: TextTokenizer | undefined;
	/** Ids that stand for no text: BOS, EOS, padding and others that the tokenizer calls special. */
	readonly special: ReadonlySet<number>;
	/** Tokens of a context at most. */
	readonly length: number;
	/** The contexts, from the first one; reads the files anew. */
	contexts(): AsyncIterable<Context>;
}

/**
 * Opens what the options say, for the model of a folder.
 *
 * @param part of the documents, or rows of token ids: every N-th of them.
 * @throws a usage error for options that do not go together, SaeError for a tokenizer that is missing or damaged.
 */
export async function openText(
	folder: string,
	spec: ModelSpec,
	options: TextOptions,
	part?: Part,
): Promise<TextInput> {
	if ((options.tokens === undefined) === (options.text === undefined)) {
		throw usageError("give either --tokens FILE or --text FILE");
	}
	if (options.tokens) refuseForTokens(options);
	const length = options.context ?? Math.min(spec.context, 1024);
	if (length > spec.context) {
		throw usageError(`--context ${length}: the model was made for ${spec.context} positions`);
	}
	const paths = await expandPaths(options.text ?? options.tokens!);
	for (const path of paths) if (path !== "-") await openFile(path).then((file) => file.close());
	const tokenizer = options.text ? await openTokenizer(folder) : undefined;
	return {
		tokenizer,
		special: specialTokens(spec, tokenizer),
		length,
		contexts() {
			if (!options.text) {
				return windowsOf(
					readTokenFiles(paths, options.tokens_name, spec.vocab),
					length,
					paddingOf(spec),
					part,
				);
			}
			const documents = readDocuments(paths, {
				format: options.text_format,
				field: options.text_field,
				delimiter: options.delimiter,
			});
			const packing = packingOf(options, length, spec, tokenizer!);
			return contextsOf(documents, checked(tokenizer!, spec), { ...packing, part });
		},
	};
}

/** @throws a usage error for what is about text: ids ready made are taken as they are. */
function refuseForTokens(options: TextOptions): void {
	const { delimiter, packing, separator, bos } = options;
	const given =
		(delimiter !== undefined && "--delimiter") ||
		(packing !== "pack" && `--packing ${packing}`) ||
		(separator !== "eos" && `--separator ${separator}`) ||
		(bos !== "auto" && `--bos ${bos}`);
	if (given) throw usageError(`${given}: is for --text; token ids ready made are taken as they are`);
}

/** A tokenizer that gives no ids but those of the model. */
function checked(tokenizer: TextTokenizer, { vocab }: ModelSpec): Pick<TextTokenizer, "encode"> {
	return {
		encode(text) {
			const tokens = tokenizer.encode(text);
			checkIds(tokens, vocab, () => `${tokenizer.identity} is of another model`);
			return tokens;
		},
	};
}

/** Many models name EOS as padding, with which rows of token ids may well begin or end. */
function paddingOf({ pad, bos, eos }: ModelSpec): Padding | undefined {
	if (pad === undefined) return undefined;
	return { token: pad, kept: pad === bos || eos.includes(pad) ? 1 : 0 };
}

function specialTokens(spec: ModelSpec, tokenizer: TextTokenizer | undefined): ReadonlySet<number> {
	const special = new Set([...(tokenizer?.special ?? []), ...spec.eos]);
	for (const id of [spec.bos, spec.pad]) if (id !== undefined) special.add(id);
	return special;
}

function packingOf(
	options: TextOptions,
	length: number,
	spec: Pick<ModelSpec, "bos" | "eos">,
	tokenizer: Pick<TextTokenizer, "bos" | "eos" | "addsBos">,
): Packing {
	const bos = tokenizer.bos ?? spec.bos;
	const wantsBos = options.bos === "always" || (options.bos === "auto" && tokenizer.addsBos);
	if (options.bos === "always" && bos === undefined) {
		throw usageError("--bos always: neither the tokenizer nor config.json names a BOS token");
	}
	const eos = options.separator === "eos" ? (tokenizer.eos ?? spec.eos[0]) : undefined;
	if (options.packing === "pack" && options.separator === "eos" && eos === undefined) {
		throw usageError(
			"--separator eos: neither the tokenizer nor config.json names an EOS token; choose --separator none",
		);
	}
	if (wantsBos && length < 2) throw usageError("--context 1 leaves no room beside the BOS token");
	return {
		length,
		bos: wantsBos ? bos : undefined,
		separator: options.packing === "pack" ? eos : undefined,
		pack: options.packing === "pack",
	};
}

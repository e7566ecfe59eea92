/** Text → token ids, by a tokenizer.json. Runs in a browser too. */
import { z } from "zod";
import { SaeError } from "../errors.ts";
import { wordEncoder } from "./word-encoder.ts";

export interface TextTokenizer {
	/** For a stream's metadata: the file, and a hash of its content. */
	readonly identity: string;
	/** Ids of a text, special tokens that it spells out included; nothing is added. */
	encode(text: string): Uint32Array;
	decode(ids: Iterable<number>): string;
	readonly bos: number | undefined;
	readonly eos: number | undefined;
	/** Whether a text begins with `bos` when the model's own programs encode it. */
	readonly addsBos: boolean;
	/** Ids of special tokens, which stand for no text. */
	readonly special: ReadonlySet<number>;
}

const AddedToken = z.union([z.string(), z.object({ content: z.string() })]);
const Settings = z.object({
	bos_token: AddedToken.nullish(),
	eos_token: AddedToken.nullish(),
	add_bos_token: z.boolean().nullish(),
});

/** A JSON file's content; its path is for messages. */
interface JsonFile {
	readonly path: string;
	readonly content: unknown;
}

/**
 * The tokenizer of `tokenizer.json` and `tokenizer_config.json`.
 *
 * @throws SaeError that names the file when it can't be used.
 */
export async function makeTokenizer(
	{ path, content }: JsonFile,
	settingsFile: JsonFile,
	identity: string,
): Promise<TextTokenizer> {
	const settings = Settings.safeParse(settingsFile.content);
	if (!settings.success) {
		const { path: field, message } = settings.error.issues[0]!;
		throw new SaeError(`${settingsFile.path}: ${field.join(".")}: ${message}`);
	}
	const library = await import("@huggingface/tokenizers");
	const attempt = <T>(work: () => T): T => {
		try {
			return work();
		} catch (error) {
			throw new SaeError(`${path}: this tokenizer can't be used (${(error as Error).message})`);
		}
	};
	const tokenizer = attempt(() => new library.Tokenizer(content as object, settingsFile.content as object));
	const encode = (text: string, special: boolean) =>
		attempt(() => tokenizer.encode(text, { add_special_tokens: special }).ids);
	const encodeWords = attempt(() => wordEncoder(library, tokenizer));
	const idOf = (token: z.infer<typeof AddedToken> | null | undefined) => {
		const text = typeof token === "string" ? token : token?.content;
		return text === undefined ? undefined : tokenizer.token_to_id(text);
	};
	// A first use, so that what is wrong shows before any work.
	encode("a", false);
	const bos = idOf(settings.data.bos_token);
	const special = [...tokenizer.get_added_tokens_decoder()].filter(([, token]) => token.special);
	return {
		identity,
		encode: (text) =>
			encodeWords ? attempt(() => encodeWords(text)) : Uint32Array.from(encode(text, false)),
		decode: (ids) => attempt(() => tokenizer.decode([...ids], { skip_special_tokens: false })),
		bos,
		eos: idOf(settings.data.eos_token),
		addsBos: bos !== undefined && (settings.data.add_bos_token === true || encode("a", true)[0] === bos),
		special: new Set(special.map(([id]) => id)),
	};
}

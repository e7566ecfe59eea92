/** Text → token ids, by the tokenizer of a model's folder. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { z } from "zod";
import { SaeError } from "../errors.ts";
import { readJson } from "./config.ts";

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

/** The tokenizer of a folder that has one. */
export async function tokenizerIfAny(folder: string): Promise<TextTokenizer | undefined> {
	const there = await Bun.file(join(folder, "tokenizer.json")).exists();
	return there ? openTokenizer(folder) : undefined;
}

/** @throws SaeError that names the file when it is missing or can't be used. */
export async function openTokenizer(folder: string): Promise<TextTokenizer> {
	const path = join(folder, "tokenizer.json");
	if (!(await Bun.file(path).exists())) {
		throw new SaeError(`${path}: there is no such file; token ids ready made need none (--tokens)`);
	}
	const content = await readJson(path);
	const settingsPath = join(folder, "tokenizer_config.json");
	const raw = (await Bun.file(settingsPath).exists()) ? await readJson(settingsPath) : {};
	const settings = Settings.safeParse(raw);
	if (!settings.success) {
		const { path: field, message } = settings.error.issues[0]!;
		throw new SaeError(`${settingsPath}: ${field.join(".")}: ${message}`);
	}
	const { Tokenizer } = await import("@huggingface/tokenizers");
	const attempt = <T>(work: () => T): T => {
		try {
			return work();
		} catch (error) {
			throw new SaeError(`${path}: this tokenizer can't be used (${(error as Error).message})`);
		}
	};
	const tokenizer = attempt(() => new Tokenizer(content as object, raw as object));
	const encode = (text: string, special: boolean) =>
		attempt(() => tokenizer.encode(text, { add_special_tokens: special }).ids);
	const idOf = (token: z.infer<typeof AddedToken> | null | undefined) => {
		const text = typeof token === "string" ? token : token?.content;
		return text === undefined ? undefined : tokenizer.token_to_id(text);
	};
	// A first use, so that what is wrong shows before any work.
	encode("a", false);
	const bos = idOf(settings.data.bos_token);
	const special = [...tokenizer.get_added_tokens_decoder()].filter(([, token]) => token.special);
	return {
		identity: `${path} sha256:${createHash("sha256").update(JSON.stringify(content)).digest("hex").slice(0, 16)}`,
		encode: (text) => Uint32Array.from(encode(text, false)),
		decode: (ids) => attempt(() => tokenizer.decode([...ids], { skip_special_tokens: false })),
		bos,
		eos: idOf(settings.data.eos_token),
		addsBos: bos !== undefined && (settings.data.add_bos_token === true || encode("a", true)[0] === bos),
		special: new Set(special.map(([id]) => id)),
	};
}

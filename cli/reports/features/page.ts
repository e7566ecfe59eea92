/** Writes a page of features, as its latents come: memory holds one chunk of them, and the index. */
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import type { Append } from "../../../core/files/atomic.ts";
import type { Pieces } from "./embed.ts";
import { type Chunk, DATA_TYPE, type HeldBytes, inOrder, type Manifest } from "./format.ts";
import type { Index } from "./pack.ts";
import { STYLE } from "./style.ts";

/** Bytes of a blob that are compressed together. */
const PIECE = 8 * 2 ** 20;

/** The parts of a page, in the order in which they must be written; `begin` first and `end` last. */
export class PageWriter {
	readonly #append: Append;
	/** Bytes of the page so far. */
	bytes = 0;

	constructor(append: Append) {
		this.#append = append;
	}

	/** `program`: what `pageProgram` gives; `end` must get the same. */
	begin(title: string, program: string): Promise<void> {
		const policy = [
			"default-src 'none'",
			`script-src '${hashOf(program)}'`,
			`style-src '${hashOf(STYLE)}'`,
			"base-uri 'none'",
			"form-action 'none'",
		].join("; ");
		return this.#text(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${Bun.escapeHTML(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<div id="page"><p class="loading">Reading the page…</p></div>
<noscript><p class="loading">This page shows its latents with a program of its own, so it needs JavaScript.</p></noscript>
`);
	}

	latents(chunk: Chunk, number: number): Promise<void> {
		return this.#json(`latents-${number}`, chunk);
	}

	async index({ columns, labels }: Index): Promise<void> {
		const wideFirst = inOrder(columns);
		await this.#block("columns", Buffer.concat(wideFirst.map(({ values }) => bytesOf(values))));
		await this.#json("labels", labels);
	}

	async blob(name: string, pieces: Pieces): Promise<HeldBytes> {
		let number = 0;
		let waiting: Uint8Array[] = [];
		let held = 0;
		const flush = async () => {
			await this.#block(`${name}-${number++}`, Buffer.concat(waiting));
			waiting = [];
			held = 0;
		};
		let bytes = 0;
		for await (const piece of pieces()) {
			for (let from = 0; from < piece.length; from += PIECE) {
				const part = piece.subarray(from, from + PIECE);
				waiting.push(part);
				held += part.length;
				bytes += part.length;
				if (held >= PIECE) await flush();
			}
		}
		if (held > 0) await flush();
		return { bytes, pieces: number };
	}

	async end(manifest: Manifest, program: string): Promise<void> {
		await this.#json("manifest", manifest);
		await this.#text(`<script type="module">${program}</script>\n</body>\n</html>\n`);
	}

	#json(id: string, value: unknown): Promise<void> {
		return this.#block(id, Buffer.from(JSON.stringify(value)));
	}

	#block(id: string, bytes: Uint8Array): Promise<void> {
		const packed = gzipSync(bytes).toString("base64");
		return this.#text(`<script type="${DATA_TYPE}" id="${id}">${packed}</script>\n`);
	}

	async #text(text: string): Promise<void> {
		const bytes = Buffer.from(text);
		this.bytes += bytes.length;
		await this.#append(bytes);
	}
}

function bytesOf(values: Float32Array | Float64Array): Uint8Array {
	return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function hashOf(text: string): string {
	return `sha256-${createHash("sha256").update(text).digest("base64")}`;
}

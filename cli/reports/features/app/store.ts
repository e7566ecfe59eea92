/** What the page holds, unpacked when it is asked for. */
import {
	type Chunk,
	type HeldBytes,
	inOrder,
	type Labels,
	type Manifest,
	type PackedLatent,
} from "../format.ts";

/** The bytes of an element that holds data. @throws where there is none. */
async function unpacked(id: string): Promise<Uint8Array<ArrayBuffer>> {
	const text = document.getElementById(id)?.textContent;
	if (text === undefined || text === null) throw new Error(`the page has no part ${id}: is it whole?`);
	const binary = atob(text);
	const packed = Uint8Array.from(binary, (letter) => letter.charCodeAt(0));
	const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
	return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function json<T>(id: string): Promise<T> {
	return JSON.parse(new TextDecoder().decode(await unpacked(id))) as T;
}

/** Numbers of every latent, by the names of columns. */
export type Columns = Readonly<Record<string, Float32Array | Float64Array>>;

/** A latent with its examples' texts. */
export interface Detail {
	readonly strings: readonly string[];
	readonly latent: PackedLatent;
}

/** Chunks that stay unpacked. */
const KEPT = 8;

export class Store {
	readonly manifest: Manifest;
	readonly columns: Columns;
	readonly labels: Labels;
	readonly #rowOf: ReadonlyMap<number, number>;
	readonly #chunks = new Map<number, Promise<Chunk>>();

	private constructor(manifest: Manifest, columns: Columns, labels: Labels) {
		this.manifest = manifest;
		this.columns = columns;
		this.labels = labels;
		this.#rowOf = new Map(Array.from(columns.latent!, (latent, row) => [latent, row]));
	}

	static async open(): Promise<Store> {
		const manifest = await json<Manifest>("manifest");
		const [bytes, labels] = await Promise.all([unpacked("columns"), json<Labels>("labels")]);
		return new Store(manifest, columnsOf(manifest, bytes), labels);
	}

	/** Row of a latent by its number; undefined for one that the page lacks. */
	readonly rowOf = (latent: number): number | undefined => this.#rowOf.get(latent);

	async detail(row: number): Promise<Detail> {
		const number = this.manifest.chunks.findLastIndex((first) => first <= row);
		const known = this.#chunks.get(number) ?? json<Chunk>(`latents-${number}`);
		// Taken out and put in again, it is the last to be forgotten.
		this.#chunks.delete(number);
		this.#chunks.set(number, known);
		if (this.#chunks.size > KEPT) this.#chunks.delete(this.#chunks.keys().next().value!);
		const { strings, latents } = await known;
		return { strings, latent: latents[row - this.manifest.chunks[number]!]! };
	}
}

function columnsOf({ columns, rows }: Manifest, bytes: Uint8Array<ArrayBuffer>): Columns {
	let at = 0;
	const found: Record<string, Float32Array | Float64Array> = {};
	for (const { name, type } of inOrder(columns)) {
		const Type = type === "f64" ? Float64Array : Float32Array;
		found[name] = new Type(bytes.buffer, at, rows);
		at += rows * Type.BYTES_PER_ELEMENT;
	}
	return found;
}

/** All bytes of a blob. */
export async function blobBytes(name: string, { pieces }: HeldBytes): Promise<Uint8Array<ArrayBuffer>> {
	const parts: Uint8Array<ArrayBuffer>[] = [];
	for (let piece = 0; piece < pieces; piece++) parts.push(await unpacked(`${name}-${piece}`));
	return new Uint8Array(await new Blob(parts).arrayBuffer());
}

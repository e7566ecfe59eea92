/** Token ids from files: arrays of any format, or a column of lists in Arrow. */
import { openArrow } from "../../arrow/reader.ts";
import { SaeError } from "../../errors.ts";
import { openFile } from "../../files/bytes.ts";
import { detectFormat, openTensorFile } from "../../files/open.ts";
import { rowTensor, type TensorFile } from "../../files/tensor-file.ts";
import type { TokenRow } from "./contexts.ts";

/** Ids read at a time. */
const READ = 2 ** 20;

/** The rows of all files, numbered on. @throws SaeError that names the row of an id that `vocab` does not reach. */
export async function* readTokenFiles(
	paths: readonly string[],
	name: string,
	vocab: number,
): AsyncGenerator<TokenRow> {
	let document = 0;
	for (const path of paths) {
		let row = 0;
		for await (const tokens of rowsOf(path, name)) {
			const where = row++;
			checkIds(tokens, vocab, () => `${path === "-" ? "stdin" : path}: ${name}, row ${where}`);
			yield { tokens, document: document++ };
		}
	}
}

/** @throws SaeError for ids that the model lacks. */
export function checkIds(tokens: Uint32Array, vocab: number, where: () => string): void {
	const id = tokens.find((token) => token >= vocab);
	if (id === undefined) return;
	throw new SaeError(`${where()}: token id ${id}: the model has the ids 0 to ${vocab - 1}`);
}

async function* rowsOf(path: string, name: string): AsyncGenerator<Uint32Array> {
	if (path === "-") return yield* arrowRows(path, name);
	const bytes = await openFile(path);
	const format = await detectFormat(bytes).finally(() => bytes.close());
	if (format === "arrow") return yield* arrowRows(path, name);
	const file = await openTensorFile(path);
	try {
		yield* arrayRows(file, name);
	} finally {
		await file.close();
	}
}

/** The last dimension is a row; `attention_mask` beside it, of the same shape, says what is no padding. */
async function* arrayRows(file: TensorFile, name: string): AsyncGenerator<Uint32Array> {
	const only = file.tensors.size === 1 ? file.tensors.keys().next().value : undefined;
	const ids = rowTensor(file, only ?? name);
	const shape = file.tensors.get(ids.name)!.shape;
	const hasMask = file.tensors.get("attention_mask")?.shape.join() === shape.join();
	const mask = hasMask ? rowTensor(file, "attention_mask") : undefined;
	const [rows, width] = shape.length > 1 ? [ids.rows, ids.width] : [1, ids.rows];
	if (width === 0) return;
	const step = Math.max(1, Math.floor(READ / width));
	for (let row = 0; row < rows; row += step) {
		const count = Math.min(step, rows - row);
		const values = await ids.readIntegers(row * width, count * width);
		const shown = await mask?.readIntegers(row * width, count * width);
		for (let r = 0; r < count; r++) {
			const tokens = values.subarray(r * width, (r + 1) * width);
			yield shown ? tokens.filter((_, i) => shown[r * width + i] !== 0) : tokens;
		}
	}
}

async function* arrowRows(path: string, name: string): AsyncGenerator<Uint32Array> {
	const { schema, batches } = await openArrow(path);
	if (!schema.fields.some((field) => field.name === name)) {
		const columns = schema.fields.map((field) => field.name).join(", ");
		throw new SaeError(`${path}: has no column ${name} (--tokens-name); it has: ${columns}`);
	}
	let first = 0;
	for await (const batch of batches) {
		const column = batch.getChild(name)!;
		for (let row = 0; row < batch.numRows; row++) {
			// A list is a vector of its own; a column of plain numbers has rows of one token.
			const list: Iterable<unknown> | number | null = column.get(row);
			const values = list === null ? [] : typeof list === "object" ? list : [list];
			yield Uint32Array.from(values, (value) => {
				const id = value === null ? Number.NaN : Number(value);
				if (Number.isInteger(id) && id >= 0 && id <= 0xffffffff) return id;
				throw new SaeError(`${path}: column ${name}, row ${first + row}: ${value} is no token id`);
			});
		}
		first += batch.numRows;
	}
}

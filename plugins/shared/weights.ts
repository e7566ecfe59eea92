/** What importers of other libraries' SAEs share: descriptions as JSON, and tensors under names of their own. */
import { readFile, stat } from "node:fs/promises";
import type { Core, SaeModel, Tensor, TensorFile } from "saeflow";

export async function isFile(path: string): Promise<boolean> {
	return stat(path).then(
		(status) => status.isFile(),
		() => false,
	);
}

/** The object in a JSON file. @throws SaeError when there is none. */
export async function readJson({ SaeError }: Core, path: string): Promise<Readonly<Record<string, unknown>>> {
	const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
		throw new SaeError(
			`${path}: ${error.code === "ENOENT" ? "is missing, which says what the SAE is" : `can't be read (${error.code})`}`,
		);
	});
	const json = parsed(text);
	if (json) return json;
	throw new SaeError(`${path}: is not a JSON object; the file is damaged or not an SAE's`);
}

/** As {@link readJson}, and undefined for whatever is none: to look at a path that may be anything. */
export async function peekJson(path: string): Promise<Readonly<Record<string, unknown>> | undefined> {
	return (await isFile(path)) ? parsed(await readFile(path, "utf8")) : undefined;
}

function parsed(text: string): Record<string, unknown> | undefined {
	try {
		const json: unknown = JSON.parse(text);
		return typeof json === "object" && json !== null && !Array.isArray(json)
			? (json as Record<string, unknown>)
			: undefined;
	} catch {
		return undefined;
	}
}

/** The value as a schema has it. @throws SaeError naming the field that is wrong. */
export function checked<T>(
	{ SaeError }: Core,
	schema: { safeParse(value: unknown): { data?: T; error?: { issues: Issue[] } } },
	value: unknown,
	file: string,
): T {
	const { data, error } = schema.safeParse(value);
	if (data !== undefined) return data;
	const [issue] = error!.issues;
	throw new SaeError(`${file}: field ${issue!.path.join(".")}: ${issue!.message}`);
}

interface Issue {
	readonly path: readonly PropertyKey[];
	readonly message: string;
}

/** Names of the arrays in a file; undefined when it is none. */
export async function arrayNames(core: Core, path: string): Promise<readonly string[] | undefined> {
	if (!(await isFile(path))) return undefined;
	try {
		const file = await core.openTensorFile(path);
		await file.close();
		return [...file.tensors.keys()];
	} catch {
		return undefined;
	}
}

/** Takes the arrays of a file under other names; what nobody takes is an error, for it would silently be lost. */
export interface WeightReader {
	has(name: string): boolean;
	/** @throws SaeError when there is no such array, or not of two dimensions. */
	matrix(name: string): readonly [rows: number, columns: number];
	/** The array as float32. @throws SaeError when it is missing, of another shape or not finite. */
	take(name: string, shape: readonly number[]): Promise<Tensor>;
	/** As `take`, with rows and columns exchanged afterwards. */
	takeTransposed(name: string, shape: readonly [number, number]): Promise<Tensor>;
	/** A single number. */
	scalar(name: string): Promise<number>;
	/** Passes by arrays that an SAE does not need to run. */
	skip(...names: readonly string[]): void;
	/** @throws SaeError naming the arrays that nobody took. */
	finish(what: string): void;
}

/** Of the arrays whose names begin with `prefix`, which is left out of the names. */
export function weightReader(core: Core, file: TensorFile, prefix = ""): WeightReader {
	const { SaeError } = core;
	const left = new Set([...file.tensors.keys()].filter((name) => name.startsWith(prefix)));
	const info = (name: string) => {
		const found = file.tensors.get(prefix + name);
		if (!found) {
			const there = [...file.tensors.keys()].slice(0, 12).join(", ") || "nothing";
			throw new SaeError(`${file.path}: tensor ${prefix}${name} is missing; it has ${there}`);
		}
		return found;
	};
	const take = async (name: string, shape: readonly number[]): Promise<Tensor> => {
		const found = info(name);
		if (found.shape.join() !== shape.join()) {
			throw new SaeError(
				`${file.path}: tensor ${prefix}${name} has the shape [${found.shape.join(", ")}], where the others make it [${shape.join(", ")}]`,
			);
		}
		left.delete(prefix + name);
		const data = await core.readFloat32(file, prefix + name);
		const bad = core.firstNonFinite(data);
		if (bad >= 0) {
			throw new SaeError(
				`${file.path}: tensor ${prefix}${name} holds ${data[bad]} (value ${bad}); the SAE is unusable`,
			);
		}
		return { shape, data };
	};
	return {
		has: (name) => file.tensors.has(prefix + name),
		matrix(name) {
			const { shape } = info(name);
			if (shape.length !== 2) {
				throw new SaeError(
					`${file.path}: tensor ${prefix}${name} has the shape [${shape.join(", ")}], where a matrix is needed`,
				);
			}
			return [shape[0]!, shape[1]!];
		},
		take,
		async takeTransposed(name, [rows, columns]) {
			const { data } = await take(name, [rows, columns]);
			return { shape: [columns, rows], data: core.transposed(data, rows, columns) };
		},
		async scalar(name) {
			return (await take(name, info(name).shape.length === 1 ? [1] : [])).data[0]!;
		},
		skip(...names) {
			for (const name of names) left.delete(prefix + name);
		},
		finish(what) {
			const [extra] = left;
			if (extra !== undefined) throw new SaeError(`${file.path}: tensor ${extra} is no part of ${what}`);
		},
	};
}

/** An array of one number repeated. */
export function filled(length: number, value: number): Tensor {
	return { shape: [length], data: new Float32Array(length).fill(value) };
}

/** A matrix with rows and columns exchanged. */
export function transposedTensor({ transposed }: Core, { shape, data }: Tensor): Tensor {
	const [rows, columns] = shape as readonly [number, number];
	return { shape: [columns, rows], data: transposed(data, rows, columns) };
}

/** Opens a file of arrays, and closes it when `read` is done. */
export async function withFile<F extends { close(): Promise<void> }, T>(
	opened: Promise<F>,
	read: (file: F) => Promise<T>,
): Promise<T> {
	const file = await opened;
	try {
		return await read(file);
	} finally {
		await file.close();
	}
}

/** @throws SaeError unless the SAE that was read back is the one that was written, bit by bit. */
export function checkReread({ SaeError }: Core, before: SaeModel, after: SaeModel, path: string): void {
	const plain = ({ metadata: _, tensors: __, ...description }: SaeModel) =>
		JSON.stringify(sorted(description));
	const names = new Set([...Object.keys(before.tensors), ...Object.keys(after.tensors)]);
	const differing = [...names].find((name) => {
		const [a, b] = [before.tensors[name]?.data, after.tensors[name]?.data];
		return !a || !b || a.length !== b.length || a.some((value, i) => value !== b[i]);
	});
	const what = plain(before) === plain(after) ? differing : "its description";
	if (what === undefined) return;
	throw new SaeError(`${path}: ${what} reads back differently from what was written; nothing was saved`);
}

function sorted(value: Readonly<Record<string, unknown>>): unknown {
	return Object.entries(value)
		.filter(([, field]) => field !== undefined)
		.toSorted(([a], [b]) => (a < b ? -1 : 1));
}

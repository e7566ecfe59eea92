/** SAEs inside a model's pass: what they reconstruct takes the place of what the model computed. */
import { SaeError, usageError } from "../errors.ts";
import type { SaeRuntime } from "../runtime.ts";
import type { Codes, SaeModel } from "../sae.ts";
import { findHookPoint, type HookPoint, hookPoints } from "./hooks.ts";
import type { ModelSpec } from "./spec.ts";
import type { HookHandler, HookValue, Transformer } from "./transformer.ts";

/** Where an SAE takes its input from and puts its reconstructions, each side by side. */
export interface SaePlace {
	readonly reads: readonly HookPoint[];
	readonly writes: readonly HookPoint[];
}

/** An SAE on the device, and its place in a model. */
export interface PlacedSae extends SaePlace {
	readonly model: Pick<SaeModel, "tensors">;
	readonly runtime: SaeRuntime;
}

export interface SpliceOptions {
	/** Whether what the SAE leaves unexplained is added again; without an edit, nothing then changes. */
	readonly keepError?: boolean;
	/** Changes the codes before they are decoded. */
	readonly edit?: ((codes: Codes) => Codes) | undefined;
	/** Rows that stay as the model has them. */
	readonly spared?: ((row: number) => boolean) | undefined;
	/** Told of the codes of a pass, before they are edited. */
	readonly seen?: ((codes: Codes) => void) | undefined;
}

/**
 * The place of an SAE: the hook point that is given, as `NAME`, or `FROM:TO` for one that reconstructs something else
 * than it reads; else the columns that it was trained on, where these are hook points, or the one that its metadata
 * names (`hook_name`, `hook_name_out`).
 *
 * @throws a usage error where none is known, and SaeError for one that is of another width or can't be done in one pass.
 */
export function placeSae(
	spec: ModelSpec,
	{ metadata, d_in, d_out = d_in }: Pick<SaeModel, "metadata" | "d_in" | "d_out">,
	given?: string,
): SaePlace {
	const [from, to = from] = given?.split(":") ?? [];
	const own = (value: unknown) => (typeof value === "string" && value !== "" ? [value] : undefined);
	const named = from === undefined ? own(metadata.hook_name) : [from];
	const readNames = (from === undefined ? columnPoints(spec, metadata.input_columns) : undefined) ?? named;
	if (!readNames) {
		throw usageError("the SAE does not say which hook point it belongs to (hook_name): give --hook-point");
	}
	const writeNames =
		to !== undefined
			? [to]
			: (columnPoints(spec, metadata.target_columns) ?? own(metadata.hook_name_out) ?? readNames);
	const find = (names: readonly string[], width: number, verb: string) => {
		const points = names.map((name) => findHookPoint(spec, name));
		const there = points.reduce((sum, point) => sum + point.width, 0);
		if (there === width) return points;
		const what = points.map((point) => point.name).join(", ");
		throw new SaeError(`${what}: has ${there} numbers per token, the SAE ${verb} ${width}`);
	};
	const place = { reads: find(readNames, d_in, "takes"), writes: find(writeNames, d_out, "gives") };
	const order = hookPoints(spec).map(({ name }) => name);
	const late = place.reads.find(({ name }) =>
		place.writes.some((write) => order.indexOf(write.name) < order.indexOf(name)),
	);
	if (late) {
		throw new SaeError(
			`${late.name}: the SAE reads it behind a hook point that it replaces, which one pass can't do`,
		);
	}
	return place;
}

/** The columns, where all of them are hook points. */
function columnPoints(spec: ModelSpec, columns: unknown): readonly string[] | undefined {
	const isPoint = (name: unknown) => {
		try {
			findHookPoint(spec, String(name));
			return true;
		} catch {
			return false;
		}
	};
	return Array.isArray(columns) && columns.length > 0 && columns.every(isPoint) ? columns : undefined;
}

/** A hook point that two of them replace, if there is one; they can't take part in one pass. */
export function contestedPoint(places: readonly SaePlace[]): string | undefined {
	const names = places.flatMap(({ writes }) => writes.map(({ name }) => name));
	return names.find((name, i) => names.indexOf(name) < i);
}

/** @throws SaeError where two of them replace the same hook point. */
export function checkApart(places: readonly SaePlace[]): void {
	const name = contestedPoint(places);
	if (name !== undefined) {
		throw new SaeError(`${name}: two SAEs would replace it; splice in one at a time`);
	}
}

/** What to do at hook points for these SAEs to take part in one pass. Each sees what those before it changed. */
export function spliceHooks(
	transformer: Transformer,
	splices: readonly { readonly sae: PlacedSae; readonly options: SpliceOptions }[],
): Map<string, HookHandler> {
	return mergeHooks(splices.map(({ sae, options }) => hooksOf(transformer, sae, options)));
}

/** Handlers of the same hook point are called in order. */
export function mergeHooks(all: readonly ReadonlyMap<string, HookHandler>[]): Map<string, HookHandler> {
	const merged = new Map<string, HookHandler>();
	for (const [name, handler] of all.flatMap((hooks) => [...hooks])) {
		const before = merged.get(name);
		merged.set(
			name,
			before
				? async (value) => {
						await before(value);
						await handler(value);
					}
				: handler,
		);
	}
	return merged;
}

function hooksOf(
	transformer: Transformer,
	sae: PlacedSae,
	{ keepError = false, edit, spared, seen }: SpliceOptions,
): Map<string, HookHandler> {
	const { reads, writes, runtime } = sae;
	/** Rows by hook point. Where an SAE both reads and writes, nothing comes between. */
	const parts = new Map<string, Float32Array>();
	let change: Reconstruction | undefined;
	const read = async (value: HookValue) => {
		if (parts.size === reads.length) parts.clear();
		parts.set(value.point.name, await transformer.read(value));
		if (parts.size < reads.length) return;
		const inputs = sideBySide([...parts.values()], value.rows);
		change = await reconstruct(sae, inputs, value.rows);
	};
	/** Reconstructions; with `keepError`, what the edit changes of them. */
	const reconstruct = async (
		{ model }: PlacedSae,
		raw: Float32Array,
		rows: number,
	): Promise<Reconstruction> => {
		const scale = scaleOf(model, reads[0]!);
		const inputs = scale === 1 ? raw : raw.map((value) => value * scale);
		const codes = await runtime.encode(inputs, rows);
		seen?.(codes);
		const [decoded, without] = await Promise.all([
			runtime.decode(edit?.(codes) ?? codes, inputs),
			keepError ? runtime.decode(codes, inputs) : undefined,
		]);
		if (without) for (let i = 0; i < decoded.length; i++) decoded[i]! -= without[i]!;
		return { data: scale === 1 ? decoded : decoded.map((value) => value / scale), width: runtime.d_out };
	};
	const write = async (value: HookValue, column: number) => {
		const { data, width } = change!;
		const own =
			keepError || spared ? (parts.get(value.point.name) ?? (await transformer.read(value))) : undefined;
		const out = own ?? new Float32Array(value.rows * value.point.width);
		for (let row = 0; row < value.rows; row++) {
			if (spared?.(row)) continue;
			const at = row * value.point.width;
			for (let i = 0; i < value.point.width; i++) {
				const changed = data[row * width + column + i]!;
				out[at + i] = keepError ? out[at + i]! + changed : changed;
			}
		}
		transformer.write(value, out);
	};
	const hooks: Map<string, HookHandler>[] = reads.map((point) => new Map([[point.name, read]]));
	let column = 0;
	for (const point of writes) {
		const first = column;
		hooks.push(new Map([[point.name, (value) => write(value, first)]]));
		column += point.width;
	}
	return mergeHooks(hooks);
}

interface Reconstruction {
	readonly data: Float32Array;
	readonly width: number;
}

/** What the rows of a layer are multiplied by for an SAE of several layers. */
function scaleOf({ tensors }: Pick<SaeModel, "tensors">, { name, layer }: HookPoint): number {
	const scales = tensors.layer_scale?.data;
	if (!scales) return 1;
	const scale = layer === undefined ? undefined : scales[layer];
	if (!scale) throw new SaeError(`${name}: the SAE was not trained on this layer`);
	return scale;
}

function sideBySide(parts: readonly Float32Array[], rows: number): Float32Array {
	if (parts.length === 1) return parts[0]!;
	const width = parts.reduce((sum, part) => sum + part.length, 0) / rows;
	const all = new Float32Array(rows * width);
	let column = 0;
	for (const part of parts) {
		const own = part.length / rows;
		for (let row = 0; row < rows; row++) {
			all.set(part.subarray(row * own, (row + 1) * own), row * width + column);
		}
		column += own;
	}
	return all;
}

/** Puts one vector in place of the rows of a hook point, but for those that are spared. */
export function replaceRows(
	transformer: Transformer,
	vector: Float32Array,
	spared?: (row: number) => boolean,
): HookHandler {
	return async (value) => {
		const out = spared ? await transformer.read(value) : new Float32Array(value.rows * vector.length);
		for (let row = 0; row < value.rows; row++) if (!spared?.(row)) out.set(vector, row * vector.length);
		transformer.write(value, out);
	};
}

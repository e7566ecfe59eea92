/** `sae_weights.safetensors`: the tensors of an architecture, no more and no fewer, and only finite values. */
import type { Core, FloatType, SaeModel, Tensor } from "saeflow";
import type { Description } from "./cfg.ts";
import { LAYER_SCALE, layoutOf, shapeOf } from "./layout.ts";

type Tensors = SaeModel["tensors"];

/** @throws SaeError naming the tensor that is missing, foreign, of another shape or not finite. */
export function checkTensors(sae: Description, tensors: Tensors, file: string, core: Core): void {
	checkShapes(sae, Object.entries(tensors), file, core);
	for (const [name, { data }] of Object.entries(tensors)) checkFinite(name, data, file, core);
}

function checkFinite(
	name: string,
	data: Float32Array,
	file: string,
	{ firstNonFinite, SaeError }: Core,
): void {
	const bad = firstNonFinite(data);
	if (bad < 0) return;
	throw new SaeError(`${file}: tensor ${name} holds ${data[bad]} (value ${bad}); the SAE is unusable`);
}

/** `optional`: names of arrays [d_sae] that may be there besides. */
export async function readTensors(
	path: string,
	sae: Description,
	core: Core,
	optional: readonly string[] = [],
): Promise<Tensors> {
	const file = await core.openSafetensors(path);
	try {
		const present = [...file.tensors].filter(([name]) => !optional.includes(name));
		// Before anything is read, so that a wrong file costs nothing.
		checkShapes(sae, present, path, core);
		const tensors: Record<string, Tensor> = {};
		for (const [name, { shape }] of file.tensors)
			tensors[name] = { shape, data: await core.readFloat32(file, name) };
		for (const [name, { data }] of Object.entries(tensors)) {
			if (optional.includes(name) && data.length !== sae.d_sae) {
				throw new core.SaeError(`${path}: tensor ${name} has ${data.length} values for ${sae.d_sae} latents`);
			}
			checkFinite(name, data, path, core);
		}
		return tensors;
	} finally {
		await file.close();
	}
}

export async function writeTensors(
	path: string,
	tensors: Tensors,
	dtype: FloatType,
	core: Core,
): Promise<void> {
	const entries = Object.entries(tensors).map(([name, { shape, data }]) => ({
		name,
		dtype,
		shape,
		data: core.fromFloat32(data, dtype),
	}));
	// SAELens' own files say so; some readers insist on it.
	await core.writeSafetensors(path, entries, { format: "pt" });
}

interface Precision {
	/** Largest relative error of rounding to the type. */
	readonly relative: number;
	/** The smallest number that it holds with that precision. */
	readonly smallest: number;
	/** Numbers that are at least so large become infinity. */
	readonly overflow: number;
}

const PRECISION: Readonly<Record<FloatType, Precision>> = {
	f32: { relative: 0, smallest: 0, overflow: Number.POSITIVE_INFINITY },
	f16: { relative: 2 ** -11, smallest: 2 ** -14, overflow: 65520 },
	bf16: { relative: 2 ** -8, smallest: 2 ** -126, overflow: (2 - 2 ** -8) * 2 ** 127 },
};

/** @throws SaeError naming a tensor with a value that the float type can't hold. */
export function checkRange(tensors: Tensors, dtype: FloatType, path: string, { SaeError }: Core): void {
	for (const [name, { data }] of Object.entries(tensors)) {
		const large = data.find((value) => Math.abs(value) >= PRECISION[dtype].overflow);
		if (large !== undefined) {
			throw new SaeError(`${path}: tensor ${name} holds ${large}, too large for ${dtype}; use float32`);
		}
	}
}

/** In which part two SAEs differ by more than rounding to `dtype` explains; undefined when they don't. */
export function difference(a: SaeModel, b: SaeModel, dtype: FloatType): string | undefined {
	const { sae_lens_version: _, ...metadata } = b.metadata;
	const { sae_lens_version: __, ...expected } = a.metadata;
	const described = (sae: SaeModel, extra: unknown) => ({ ...sae, metadata: extra, tensors: undefined });
	if (!Bun.deepEquals(described(a, plain(expected)), described(b, metadata))) return "cfg.json";
	const { relative, smallest } = PRECISION[dtype];
	return Object.keys(a.tensors).find((name) => {
		const [before, after] = [a.tensors[name]!.data, b.tensors[name]!.data];
		return before.some((value, i) => {
			const allowed = relative * Math.max(Math.abs(value), smallest);
			return !(Math.abs(value - after[i]!) <= allowed);
		});
	});
}

/** As JSON keeps it. */
function plain(value: unknown): unknown {
	return JSON.parse(JSON.stringify(value));
}

function checkShapes(
	sae: Description,
	tensors: Iterable<readonly [string, { readonly shape: readonly number[] }]>,
	file: string,
	core: Core,
): void {
	const { architecture } = sae;
	const { SaeError } = core;
	const layout = layoutOf(sae, core)!.tensors;
	const found = new Map(tensors);
	for (const [name, dimensions] of Object.entries(layout)) {
		const tensor = found.get(name);
		if (!tensor)
			throw new SaeError(`${file}: tensor ${name} is missing, which the ${architecture} architecture needs`);
		const expected = shapeOf(dimensions, sae).join(", ");
		const shape = tensor.shape.join(", ");
		if (shape !== expected) {
			throw new SaeError(
				`${file}: tensor ${name} has the shape [${shape}], but ${sizesOf(sae)} make it [${expected}]`,
			);
		}
	}
	for (const [name, { shape }] of found) {
		if (!Object.hasOwn(layout, name) && !(name === LAYER_SCALE && shape.length === 1)) {
			throw new SaeError(`${file}: tensor ${name} is no part of the ${architecture} architecture`);
		}
	}
}

function sizesOf({ d_in, d_out, d_sae }: Description): string {
	return `d_in ${d_in}${d_out === undefined ? "" : `, d_out ${d_out}`} and d_sae ${d_sae}`;
}

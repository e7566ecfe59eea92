/**
 * Hook points: named places of the forward pass, in the order in which it comes to them. They have the names that
 * TransformerLens gives them, or those of the Hugging Face modules whose outputs they are.
 */
import { SaeError, usageError } from "../errors.ts";
import type { ModelSpec } from "./spec.ts";

export interface HookPoint {
	/** As TransformerLens calls it; places that only Hugging Face's modules have end in `.out`. */
	readonly name: string;
	readonly layer: number | undefined;
	/** Numbers per token. Those of several heads lie behind each other. */
	readonly width: number;
}

/** Every hook point of a model, in order. */
export function hookPoints(spec: ModelSpec): HookPoint[] {
	const { d_model, d_mlp, heads, kvHeads, d_head } = spec;
	const rotated = spec.rope !== undefined;
	const places: readonly (readonly [name: string, width: number, exists?: boolean])[] = [
		["hook_resid_pre", d_model],
		["ln1.hook_normalized", d_model],
		["ln1.out", d_model],
		["attn.hook_q", heads * d_head],
		["attn.hook_k", kvHeads * d_head],
		["attn.hook_v", kvHeads * d_head],
		["attn.hook_rot_q", heads * d_head, rotated],
		["attn.hook_rot_k", kvHeads * d_head, rotated],
		["attn.hook_z", heads * d_head],
		["attn.out", d_model],
		["hook_attn_out", d_model],
		["hook_resid_mid", d_model, !spec.parallel],
		["ln2.hook_normalized", d_model],
		["ln2.out", d_model],
		["mlp.hook_pre", d_mlp],
		["mlp.hook_pre_linear", d_mlp, spec.layers[0]?.gate !== undefined],
		["mlp.hook_post", d_mlp],
		["mlp.out", d_model],
		["hook_mlp_out", d_model],
		["hook_resid_post", d_model],
	];
	const outside = (name: string): HookPoint => ({ name, layer: undefined, width: d_model });
	return [
		outside("hook_embed"),
		...(spec.embed.positions ? [outside("hook_pos_embed")] : []),
		...spec.layers.flatMap((_, layer) =>
			places
				.filter(([, , exists = true]) => exists)
				.map(([name, width]) => ({ name: `blocks.${layer}.${name}`, layer, width })),
		),
		outside("ln_final.hook_normalized"),
		outside("ln_final.out"),
	];
}

/** The hook point that a person names. @throws a usage error that lists what there is. */
export function findHookPoint(spec: ModelSpec, given: string): HookPoint {
	const points = hookPoints(spec);
	const name = fromModulePath(spec, given) ?? given;
	const found = points.find((point) => point.name === name);
	if (found) return found;
	const layers = spec.layers.length;
	const layer = layerOf(spec, given);
	if (layer !== undefined && layer >= layers) {
		throw usageError(`hook point ${given}: the model has the layers 0 to ${layers - 1}`);
	}
	const shown = points.filter((point) => !point.name.endsWith(".out") && !point.layer);
	const names = shown.map((point) => point.name.replace("blocks.0.", "blocks.L."));
	const modules = Object.keys(spec.modules.inLayer).map((path) =>
		[spec.modules.layers, "L", path].filter((part) => part !== "").join("."),
	);
	throw usageError(
		`hook point ${given}: this model has none of that name; it has ${names.join(", ")}, and the modules ${[...modules, ...Object.keys(spec.modules.outside)].join(", ")}`,
	);
}

/** How much of a model a pass to a hook point needs. */
export function loadedFor(spec: ModelSpec, { name, layer }: HookPoint): { layers: number; head: boolean } {
	const head = name.startsWith("ln_final");
	return { layers: head ? spec.layers.length : (layer ?? -1) + 1, head };
}

/** Every layer's hook point, for a name that has `*` for the layer; else the name itself. */
export function expandLayers(spec: ModelSpec, given: string): string[] {
	if (!given.includes("*")) return [given];
	if (given.split(".").filter((part) => part === "*").length !== 1) {
		throw usageError(`hook point ${given}: one * may stand for the layer`);
	}
	return spec.layers.map((_, layer) => given.replace("*", String(layer)));
}

/** A path may be without the name that a head puts before it: `h.0.mlp`, `layers.0`. */
function fromModulePath({ modules, prefix }: ModelSpec, given: string): string | undefined {
	const bare = modules.layers.slice(prefix.length);
	const path = given.startsWith(`${bare}.`) ? prefix + given : given;
	if (Object.hasOwn(modules.outside, path)) return modules.outside[path];
	if (!path.startsWith(`${modules.layers}.`)) return undefined;
	const [, layer, within = ""] = /^(\d+)(?:\.(.+))?$/.exec(path.slice(modules.layers.length + 1)) ?? [];
	const name = Object.hasOwn(modules.inLayer, within) ? modules.inLayer[within] : undefined;
	return layer === undefined || name === undefined ? undefined : `blocks.${Number(layer)}.${name}`;
}

function layerOf({ modules }: ModelSpec, given: string): number | undefined {
	const start = [`${modules.layers}.`, "blocks."].find((prefix) => given.startsWith(prefix));
	const [, layer] = /^(\d+)(?:\.|$)/.exec(given.slice(start?.length)) ?? [];
	return start === undefined || layer === undefined ? undefined : Number(layer);
}

/** Where a pass must go on to: past the last of these hook points. @throws SaeError for one that does not exist. */
export function lastOf(points: readonly HookPoint[], names: Iterable<string>): number {
	let last = -1;
	for (const name of names) {
		const at = points.findIndex((point) => point.name === name);
		if (at < 0) throw new SaeError(`the model has no hook point ${name}`);
		last = Math.max(last, at);
	}
	return last;
}

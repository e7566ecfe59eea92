/** Which latents still fire: tokens since each last did, and the list of those that count as dead. */
import { CONTROL } from "./loss.ts";
import { eachLatent, literal, STEP_PARAMS } from "./wgsl.ts";

/**
 * Bindings: step uniform, uniform { d_sae }, control, fired [latents], since [latents] (tokens, saturating), flags
 * [latents], and with `densities` density and floor [latents]; with `marked` also marks [latents], the flags as numbers.
 * A latent is dead after `dead_after` tokens without firing; with a floor above 0, while it fires less than that. A
 * thread per latent.
 */
export function countSilence(shape: { densities: boolean; marked: boolean }): string {
	const { densities, marked } = shape;
	const extra = [
		...(densities ? ["<storage, read_write> density: array<f32>", "<storage, read> least: array<f32>"] : []),
		...(marked ? ["<storage, read_write> marks: array<f32>"] : []),
	];
	return /* wgsl */ `
${STEP_PARAMS}
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<uniform> size: vec4u;
@group(0) @binding(2) var<storage, read> control: array<f32>;
@group(0) @binding(3) var<storage, read> fired: array<u32>;
@group(0) @binding(4) var<storage, read_write> since: array<u32>;
@group(0) @binding(5) var<storage, read_write> flags: array<u32>;
${extra.map((text, i) => `@group(0) @binding(${6 + i}) var${text};`).join("\n")}

${eachLatent(`
	// A step that was stopped did not happen.
	if (control[${CONTROL.stopped}] != 0.0) { return; }
	var tokens = min(since[latent], 0xffffffffu - step.rows) + step.rows;
	if (fired[latent] > 0u) { tokens = 0u; }
	since[latent] = tokens;
	${
		densities
			? `let now = f32(fired[latent]) / f32(step.rows);
	density[latent] = density[latent] + ${literal(DENSITY_RATE)} * (now - density[latent]);
	let dead = select(tokens >= step.dead_after, density[latent] < least[latent], least[latent] > 0.0);`
			: "let dead = tokens >= step.dead_after;"
	}
	flags[latent] = select(0u, 1u, dead);
	${marked ? "marks[latent] = select(0.0, 1.0, dead);" : ""}
`)}
`;
}

/** Share of each step in the running mean of how often a latent fires. */
export const DENSITY_RATE = 0.01;

/** Bindings: flags, places [latents + 1] (their prefix sums), list (count, then latents ascending), report, uniform { d_sae }. */
export function listDead(reportAt: number): string {
	return /* wgsl */ `
@group(0) @binding(0) var<storage, read> flags: array<u32>;
@group(0) @binding(1) var<storage, read> places: array<u32>;
@group(0) @binding(2) var<storage, read_write> list: array<u32>;
@group(0) @binding(3) var<storage, read_write> report: array<f32>;
@group(0) @binding(4) var<uniform> size: vec4u;

${eachLatent(`
	if (latent == 0u) {
		list[0] = places[size.x];
		report[${reportAt}] = f32(places[size.x]);
	}
	if (flags[latent] == 1u) { list[1u + places[latent]] = latent; }
`)}
`;
}

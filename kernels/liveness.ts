/** Which latents still fire: tokens since each last did, and the list of those that count as dead. */
import { ENTRY } from "./transpose.ts";
import { eachLatent, STEP_PARAMS } from "./wgsl.ts";

/**
 * Bindings: step uniform, offsets, entries, since [latents] (tokens, saturating), flags [latents], uniform { d_sae }.
 * A latent fired if the first term (code rows below step.rows) kept it with a value above 0. A thread per latent.
 */
export const COUNT_SILENCE = /* wgsl */ `
${STEP_PARAMS}
${ENTRY}
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> offsets: array<u32>;
@group(0) @binding(2) var<storage, read> entries: array<Entry>;
@group(0) @binding(3) var<storage, read_write> since: array<u32>;
@group(0) @binding(4) var<storage, read_write> flags: array<u32>;
@group(0) @binding(5) var<uniform> size: vec4u;

${eachLatent(`
	let first = offsets[latent];
	var tokens = min(since[latent], 0xffffffffu - step.rows) + step.rows;
	if (offsets[latent + 1u] > first && entries[first].row < step.rows) { tokens = 0u; }
	since[latent] = tokens;
	flags[latent] = select(0u, 1u, tokens >= step.dead_after);
`)}
`;

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

/**
 * The threshold that stands for a batch's selection at inference: a running mean of the smallest value it kept. A batch
 * with fewer positive values than are wanted keeps them all, which says nothing of where to cut, and doesn't count.
 */
import { CONTROL } from "./loss.ts";
import { eachLatent, literal, STEP_PARAMS } from "./wgsl.ts";

/** Share of each batch in the running mean, which starts at the first value. */
export const THRESHOLD_RATE = 0.01;

/**
 * Bindings: step uniform, uniform { thresholds, u32 per bound }, control, bounds (bits first; those of no number, and of
 * the smallest, stand for nothing kept), threshold [thresholds]. A thread per threshold.
 */
export const TRACK_THRESHOLDS = /* wgsl */ `
${STEP_PARAMS}
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<uniform> size: vec4u;
@group(0) @binding(2) var<storage, read> control: array<f32>;
@group(0) @binding(3) var<storage, read> bounds: array<u32>;
@group(0) @binding(4) var<storage, read_write> threshold: array<f32>;

${eachLatent(`
	let bits = bounds[latent * size.y];
	if (step.update == 0u || control[${CONTROL.stopped}] != 0.0 || bits <= 1u || bits == 0xffffffffu) { return; }
	let before = threshold[latent];
	let now = bitcast<f32>(bits);
	threshold[latent] = select(before + ${literal(THRESHOLD_RATE)} * (now - before), now, before == 0.0);
`)}
`;

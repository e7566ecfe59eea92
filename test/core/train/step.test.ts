/** The compiled training step against the float64 reference, on shapes that no tile divides. */
import { afterAll, beforeAll, describe, test } from "bun:test";
import { openGpu } from "../../../core/gpu/device.ts";
import { Gpu } from "../../../kernels/gpu.ts";
import type { State } from "../../reference/train-step.ts";
import { type Case, expectAgreement, topkCase } from "./agreement.ts";
import { type Family, families } from "./specs.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

/** Shapes are few, since a software driver takes seconds to compile a new one. */
const BASE = { d_in: 17, d_sae: 130, rows: 37, k: 4 };

const cases: Record<string, Parameters<typeof topkCase>[0]> = {
	"one row, one latent kept": { d_in: 3, d_sae: 5, rows: 1, k: 1 },
	"a batch over a tile": { d_in: 64, d_sae: 130, rows: 129, k: 7 },
	"a width over a tile": { d_in: 130, d_sae: 300, rows: 37, k: 16 },
	"more than 64 vec4 per row, every latent kept": { d_in: 261, d_sae: 40, rows: 2, k: 3, multi: 40 },
	"many latents kept": { ...BASE, d_sae: 300, k: 300 },
	"an encoder that sees x itself": { ...BASE, centre: false },
	"a falling k": { ...BASE, k: { from: 20, to: 3, until: 0.5 }, steps: 4 },
	"float16 rows, an odd number of them": { ...BASE, format: "float16" },
	"clipping that bites": { ...BASE, multi: 9, settings: { clip: 0.05 } },
	"clipping that does not": { ...BASE, settings: { clip: 1e4 } },
	"an input scale": { ...BASE, settings: { input_scale: 0.37 } },
	"multi-topk and auxk while latents die": {
		...BASE,
		multi: 9,
		auxk: 20,
		steps: 4,
		settings: { dead_after: 70 },
	},
	"auxk with fewer dead latents than it keeps": {
		...BASE,
		multi: 9,
		auxk: 20,
		settings: { dead_after: 112, clip: 0.5 },
		change(state) {
			state.dead = [0, 5, 77, 129];
			for (const latent of state.dead) state.since[latent] = 112;
		},
	},
	"a state in mid-run": {
		...BASE,
		settings: { update: 1000 },
		change({ mean, square, since }, random) {
			for (const array of Object.values(mean)) for (const i of array.keys()) array[i] = random() - 0.5;
			for (const array of Object.values(square)) for (const i of array.keys()) array[i] = random() / 9;
			for (const i of since.keys()) since[i] = Math.floor(random() * 1e6);
		},
	},
	"rows with fewer positive values than k": {
		...BASE,
		change: ({ parameters }) => parameters.b_enc.fill(-2),
	},
	"no code at all": { ...BASE, multi: 9, change: ({ parameters }) => parameters.b_enc.fill(-100) },
	"equal rows and equal latents": {
		...BASE,
		steps: 1,
		data: (values, width) => values.copyWithin(width, 0, values.length - width),
		change({ parameters }) {
			// Ten kinds of latents, thirteen of each, so that every row's choice is among equals.
			parameters.W_enc.copyWithin(10 * BASE.d_in, 0);
			parameters.b_enc.fill(0.1);
		},
	},
	// A latent's entries are put in order by comparing when there are up to 64 of them, by a bitmap past that, and
	// past 128 they are summed in segments.
	"latents that fire in 64 rows": { ...BASE, rows: 64, change: frequent },
	"latents that fire in 65 rows": { ...BASE, rows: 65, change: frequent },
	"latents that fire in every row, in several terms": {
		...BASE,
		rows: 129,
		multi: 9,
		auxk: 20,
		settings: { dead_after: 30 },
		change(state) {
			frequent(state);
			state.dead = [3, 38, 70];
			for (const latent of state.dead) state.since[latent] = 30;
		},
	},
};

/** Two latents that are always on. */
function frequent({ parameters }: State): void {
	parameters.b_enc[3] = 30;
	parameters.b_enc[38] = 20;
}

describe("the step agrees with the reference", () => {
	test.each(Object.entries(cases))("%s", (_, given) => expectAgreement(gpu, topkCase(given)));
});

describe("every kind of architecture agrees with the reference", () => {
	const { d_in, d_sae } = BASE;
	const sizes = { d_in, d_out: d_in, d_sae };
	test.each(Object.entries(families(sizes)))("%s", (_, family) => expectAgreement(gpu, familyCase(family)));
	test.each(Object.entries(families(sizes)))("%s, clipped, while latents die", (_, family) =>
		expectAgreement(gpu, {
			...familyCase(family),
			settings: { clip: 0.3, dead_after: 60 },
			change(state, random) {
				// Some latents are dead from the start, and stay so.
				for (let latent = 0; latent < state.since.length; latent += 1 + Math.floor(9 * random())) {
					state.since[latent] = 60;
					state.parameters.b_enc[latent] = -3;
				}
			},
		}),
	);
});

function familyCase(family: Family): Case {
	return { ...family, rows: 37 };
}

test("so do the kernels that a software driver would not be given", () => {
	const pretended = { device: gpu.device, info: { ...gpu.info, software: false }, keepAlive: [] };
	return expectAgreement(new Gpu(pretended), topkCase({ ...BASE, d_in: 130, multi: 9 }));
});

/**
 * The state of a run in one safetensors file: parameters, optimiser and counters of every SAE, and as JSON metadata
 * the place in the data and what the run was started with. One file, so that one rename makes it valid.
 */
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import { EXIT, SaeError } from "../errors.ts";
import { openSafetensors, readFloat32, type TensorToWrite, writeSafetensors } from "../files/safetensors.ts";
import type { TrainStep } from "./step.ts";

const FORMAT = "saeflow-training-2";

const State = z.object({
	/** Updates made. */
	step: z.int().min(0),
	/** Rows consumed, in the shuffled order. */
	position: z.int().min(0),
	/** Provider and device that made the bits. */
	device: z.string(),
	/** What the run was started with; a resumed run must be started with the same. */
	settings: z.record(z.string(), z.unknown()),
	/** By SAE: what its inputs are multiplied by. */
	input_scale: z.record(z.string(), z.number().positive()),
});
export type RunState = z.infer<typeof State>;

export interface Checkpoint {
	readonly state: RunState;
	/** Held-out rows [n, d_in], when the run keeps some. */
	readonly held_out: Float32Array;
	/** Arrays of one SAE, for `TrainStep.restore`. */
	arrays(sae: string): Promise<Record<string, Float32Array | Uint32Array>>;
	close(): Promise<void>;
}

export async function writeCheckpoint(
	path: string,
	state: RunState,
	held_out: Float32Array,
	steps: Readonly<Record<string, TrainStep>>,
): Promise<void> {
	const tensors: TensorToWrite[] = [
		{ name: "held_out", dtype: "f32", shape: [held_out.length], data: held_out },
	];
	for (const [sae, step] of Object.entries(steps)) {
		for (const name of step.arrays) {
			const data = await step.readArray(name);
			const dtype = data instanceof Uint32Array ? "u32" : "f32";
			tensors.push({ name: `${sae}/${name}`, dtype, shape: [data.length], data });
		}
	}
	await mkdir(dirname(path), { recursive: true });
	await writeSafetensors(path, tensors, { format: FORMAT, state: JSON.stringify(state) });
}

/** Opens a checkpoint. Throws SaeError when the file is missing, damaged or of another format. */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
	const file = await openSafetensors(path);
	const state = State.safeParse(parseJson(file.metadata.state));
	if (file.metadata.format !== FORMAT || !state.success) {
		await file.close();
		throw new SaeError(`${path}: is not a training state of this version of saeflow`, EXIT.data);
	}
	return {
		state: state.data,
		held_out: await readFloat32(file, "held_out"),
		async arrays(sae) {
			const arrays: Record<string, Float32Array | Uint32Array> = {};
			const prefix = `${sae}/`;
			for (const [key, info] of file.tensors) {
				if (!key.startsWith(prefix)) continue;
				const bytes = await file.readElements(key, 0, info.shape[0] ?? 0);
				const whole = bytes.slice();
				arrays[key.slice(prefix.length)] =
					info.dtype === "u32" ? new Uint32Array(whole.buffer) : new Float32Array(whole.buffer);
			}
			if (!arrays.W_enc)
				throw new SaeError(`${path}: has no ${prefix}W_enc; was the run started with other SAEs?`);
			return arrays;
		},
		close: () => file.close(),
	};
}

function parseJson(text: string | undefined): unknown {
	try {
		return JSON.parse(text ?? "");
	} catch {
		return undefined;
	}
}

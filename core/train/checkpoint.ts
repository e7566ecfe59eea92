/**
 * The state of a run in one safetensors file: parameters, optimiser and counters of every SAE, and as JSON metadata
 * the place in the data and what the run was started with. One file, so that one rename makes it valid.
 */
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import { EXIT, SaeError } from "../errors.ts";
import { openSafetensors, type TensorToWrite, writeSafetensors } from "../files/safetensors.ts";
import type { TrainStep } from "./step.ts";

const FORMAT = "saeflow-training-3";

/** Names of held-out rows begin so; no SAE has a name like it. */
const HELD_OUT = "/held_out/";

const ColumnScale = z.object({ width: z.int().min(1), scale: z.number().positive() });

const State = z.object({
	/** Updates made. */
	step: z.int().min(0),
	/** Rows consumed, in the shuffled order. */
	position: z.int().min(0),
	/** Provider and device that made the bits. */
	device: z.string(),
	/** What the run was started with; a resumed run must be started with the same. */
	settings: z.record(z.string(), z.unknown()),
	/** Those that are still in training. */
	saes: z.array(z.string()).min(1),
	/** What rows are multiplied by. */
	scales: z.object({
		/** Column by column, side by side. */
		inputs: z.array(ColumnScale).min(1),
		/** Of the targets, where they are others than the inputs. */
		targets: z.array(ColumnScale).min(1).optional(),
		/** By the number of the row's layer, where layers have scales of their own; 0 for one without rows. */
		layers: z.array(z.number().min(0)).optional(),
	}),
});
export type RunState = z.infer<typeof State>;

/** Whole rows as float32. */
export interface WholeRows {
	/** [n, d_in] */
	readonly inputs: Float32Array;
	/** [n, d_out], where they are others than the inputs. */
	readonly targets?: Float32Array | undefined;
	/** [n], where rows have a layer each that matters. */
	readonly layers?: Uint32Array | undefined;
}

export interface Checkpoint {
	readonly state: RunState;
	/** Held-out rows; none when the run keeps none. */
	readonly held_out: WholeRows;
	/** Arrays of one SAE, for `TrainStep.restore`. */
	arrays(sae: string): Promise<Record<string, Float32Array | Uint32Array>>;
	close(): Promise<void>;
}

export async function writeCheckpoint(
	path: string,
	state: RunState,
	held_out: WholeRows,
	steps: Readonly<Record<string, TrainStep>>,
): Promise<void> {
	const tensors: TensorToWrite[] = [];
	const add = (name: string, data: Float32Array | Uint32Array) => {
		const dtype = data instanceof Uint32Array ? "u32" : "f32";
		tensors.push({ name, dtype, shape: [data.length], data });
	};
	for (const [name, data] of Object.entries(held_out)) if (data) add(HELD_OUT + name, data);
	for (const [sae, step] of Object.entries(steps)) {
		for (const name of step.arrays) add(`${sae}/${name}`, await step.readArray(name));
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
	const arraysOf = async (prefix: string) => {
		const arrays: Record<string, Float32Array | Uint32Array> = {};
		for (const [key, info] of file.tensors) {
			if (!key.startsWith(prefix)) continue;
			const bytes = await file.readElements(key, 0, info.shape[0] ?? 0);
			const whole = bytes.slice();
			arrays[key.slice(prefix.length)] =
				info.dtype === "u32" ? new Uint32Array(whole.buffer) : new Float32Array(whole.buffer);
		}
		return arrays;
	};
	return {
		state: state.data,
		held_out: { inputs: new Float32Array(), ...(await arraysOf(HELD_OUT)) },
		async arrays(sae) {
			const arrays = await arraysOf(`${sae}/`);
			if (!arrays.W_enc)
				throw new SaeError(`${path}: has no ${sae}/W_enc; was the run started with other SAEs?`);
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

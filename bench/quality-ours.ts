/** Our side of quality.ts: trains on the file that it wrote and prints, now and then, how far it has come. */
import { widened } from "../core/files/dtype.ts";
import { openSafetensors, readFloat32 } from "../core/files/safetensors.ts";
import { rowTensor } from "../core/files/tensor-file.ts";
import { TrainStep } from "../core/train/step.ts";
import { openDevice, type Size, shapeOf, specOf } from "./common.ts";

/** What quality.py reads too. */
export interface QualitySettings extends Size {
	readonly steps: number;
	/** Steps from one line to the next. */
	readonly every: number;
	readonly lr: number;
	readonly aux_weight: number;
	readonly k_aux: number;
	readonly dead_after: number;
	/** What rows are multiplied by. */
	readonly scale: number;
	/** Of the held-out rows, scaled, about their mean. */
	readonly variance: number;
}

/** Steps that are enqueued before the device is waited for. */
const IN_FLIGHT = 16;

if (import.meta.main) await train(process.argv[2]!);

async function train(path: string): Promise<never> {
	const gpu = await openDevice();
	console.error(`${gpu.info.provider}: ${gpu.info.description || gpu.info.device}`);
	const file = await openSafetensors(path);
	const settings = JSON.parse(file.metadata.settings!) as QualitySettings;
	const { batch, steps, every, lr, aux_weight, dead_after, scale } = settings;
	const [rows, held] = [rowTensor(file, "rows"), rowTensor(file, "held_out")];
	const format = rows.dtype === "f16" ? "float16" : "float32";
	const step = await TrainStep.create(
		gpu,
		specOf("topk", settings, { aux_weight }),
		shapeOf(settings, format),
	);
	const first: Record<string, Float32Array> = {};
	for (const name of ["W_enc", "W_dec", "b_enc", "b_dec"]) first[name] = await readFloat32(file, name);
	step.restore(first, dead_after);
	const at = (update: number) => ({
		...{ lr, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, update, clip: 0, dead_after },
		...{ input_scale: scale, progress: 0 },
	});
	const all = (await rows.readRows(0, rows.rows)).data;
	const heldOut = widened((await held.readRows(0, held.rows)).data);
	const batches = rows.rows / batch;
	const size = batch * settings.d_in;
	for (let update = 1; update <= steps; update++) {
		const from = ((update - 1) % batches) * size;
		step.run({ inputs: all.subarray(from, from + size) }, at(update), false);
		const shown = update === 1 || update % every === 0 || update === steps;
		if (!shown && update % IN_FLIGHT !== 0) continue;
		const { loss, stopped } = await step.report();
		if (stopped) throw new Error(`the loss is not finite at step ${update}`);
		if (!shown) continue;
		let squared_error = 0;
		for (let i = 0; i < heldOut.length; i += size) {
			squared_error += (await step.evaluate({ inputs: heldOut.subarray(i, i + size) }, at(update)))
				.squaredError;
		}
		console.log(JSON.stringify({ step: update, loss, squared_error }));
	}
	gpu.close();
	process.exit(0);
}

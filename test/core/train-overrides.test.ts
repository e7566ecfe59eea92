/** SAEs of one run that have a learning rate and a seed of their own. */
import { expect, test } from "bun:test";
import { rowStream } from "../../core/row-stream.ts";
import { type SaeToTrain, train } from "../../core/train-saes.ts";
import { randomStream } from "../reference/models.ts";

const D_IN = 8;
const ROWS = 1024;
const random = randomStream(3);
const data = Float32Array.from({ length: ROWS * D_IN }, () => random() - 0.5);

const one = { architecture: "topk", d_sae: 16, options: { k: 2 } };
const shared = { batch_size: 64, tokens: ROWS, sample_rows: 128, shuffle_buffer: 0 };

const trained = (saes: SaeToTrain[], options: Record<string, unknown> = {}) =>
	train({ stream: rowStream([data], D_IN), saes, options: { ...shared, ...options } });

const bits = (sae: Awaited<ReturnType<typeof trained>>[number] | undefined) =>
	Buffer.from(sae!.tensors.W_enc!.data.buffer.slice(0)).toString("base64");

test("each becomes what it would be alone, in a run with that rate and seed", async () => {
	const several = await trained([
		{ ...one, name: "plain" },
		{ ...one, name: "slow", lr: 1e-4 },
		{ ...one, name: "other", seed: 5 },
	]);
	const alone = [
		await trained([one]),
		await trained([one], { lr: 1e-4 }),
		// Without a shuffle the seed of the run decides the weights alone.
		await trained([one], { seed: 5 }),
	];
	expect(several.map(bits)).toEqual(alone.map(([sae]) => bits(sae)));
	expect(new Set(several.map(bits)).size).toBe(3);
	const recorded = several.map(({ metadata }) => metadata.training_options);
	expect(recorded).toMatchObject([{ seed: 0 }, { lr: 1e-4, seed: 0 }, { seed: 5 }]);
}, 60_000);

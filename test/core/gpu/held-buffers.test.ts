/** Processes whose garbage collector runs at every chance: what Dawn is about to read must not be freed. */
import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { holdingBuffers } from "../../../core/gpu/held-buffers.ts";
import { sae, shell } from "../../cli/sae.ts";
import { weights } from "../../cli/training.ts";

const RESTLESS = { BUN_JSC_slowPathAllocsBetweenGCs: "20" };

test("a device is opened and computes", async () => {
	const { exitCode, stdout, stderr } = await sae(["doctor"], RESTLESS);
	expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
	expect(stdout).toMatch(/^kernel +correct/m);
});

test("a training run gives the same bits as ever", async () => {
	const folder = await mkdtemp(join(tmpdir(), "sae-restless-"));
	const run = (out: string, env: string) =>
		shell(
			"sae activations synthetic --d-in 16 --rows 640 | " +
				`${env} sae train topk --k 4 --d-sae 64 --batch-size 64 --tokens 640 --out ${join(folder, out)}`,
		);
	expect(await run("calm", "")).toMatchObject({ exitCode: 0 });
	const { exitCode, stderr } = await run("restless", "BUN_JSC_slowPathAllocsBetweenGCs=20");
	expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
	expect(await weights(join(folder, "restless"))).toEqual(await weights(join(folder, "calm")));
	await rm(folder, { recursive: true });
});

test("the globals are what they were when a call returns or throws", () => {
	const before = { ArrayBuffer, encode: TextEncoder.prototype.encode };
	const call = holdingBuffers((length: number) => {
		expect(new Float32Array(1).buffer instanceof ArrayBuffer).toBe(true);
		return [new ArrayBuffer(length), new TextEncoder().encode("ab")] as const;
	});
	const [buffer, text] = call(7);
	expect([buffer.byteLength, text.length, buffer instanceof before.ArrayBuffer]).toEqual([7, 2, true]);
	expect(() => call(-1)).toThrow(RangeError);
	expect({ ArrayBuffer, encode: TextEncoder.prototype.encode }).toEqual(before);
});

/** That training finds what is there to be found: a short run on rows whose features are known. */
import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sae, shell } from "./sae.ts";
import { metricsIn } from "./training.ts";

test("256 features in 64 dimensions, 4 of them in each of 200,000 rows, are mostly recovered", async () => {
	const folder = await mkdtemp(join(tmpdir(), "sae-recovery-"));
	const path = (name: string) => join(folder, name);
	// Another seed than the trainer's: with the same one, weights would begin as the features themselves.
	const rows = "--d-in 64 --features 256 --active 4 --magnitude 0.5:1.5 --rows 200000 --seed 1";
	const words = "--k 4 --d-sae 256 --batch-size 256 --tokens 200000 --lr 0.003";
	const { exitCode, stderr } = await shell(
		`sae activations synthetic ${rows} --truth ${path("truth.safetensors")} | ` +
			`sae train topk ${words} --out ${path("sae")} --metrics ${path("metrics.json")}`,
	);
	expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
	const evaluated = await sae([
		...["eval", "recovery", path("sae"), "--truth", path("truth.safetensors"), "--format", "json"],
	]);
	const [trained, random] = evaluated.stdout
		.trim()
		.split("\n")
		.map((line) => JSON.parse(line));
	// 0.947 and 0.355 where this was written; longer runs pass 0.98.
	expect(random.mcc).toBeLessThan(0.45);
	expect(trained.mcc).toBeGreaterThan(0.9);
	expect(trained["recovery@0.9"]).toBeGreaterThan(0.8);
	const last = (await metricsIn(path("metrics.json"))).at(-1)!;
	expect(last).toMatchObject({ l0: 4 });
	expect(last.fvu).toBeLessThan(0.2);
	expect(last.dead).toBeLessThan(0.1);
	await rm(folder, { recursive: true });
});

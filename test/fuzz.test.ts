/**
 * Damages sound files at random, from a seed: each is read, or refused by a SaeError. Never another error, never a
 * hang, never memory for what a damaged header claims.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isSaeError } from "../core/errors.ts";
import { CounterRng } from "../core/random.ts";
import { soundFiles } from "./bad-files.ts";
import { allBatches, readBytes } from "./core/streams.ts";
import { openSource, rowsFrom } from "./plugins/sources.ts";

const folder = await mkdtemp(join(tmpdir(), "sae-fuzz-"));
afterAll(() => rm(folder, { recursive: true }));

const SEED = Number(process.env.SAE_FUZZ_SEED ?? 1);
const MUTATIONS = Number(process.env.SAE_FUZZ_MUTATIONS ?? 300);
const MAX_GROWTH_BYTES = 400 * 2 ** 20;

/** Values that headers are likely to trip over. */
const EDGES = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x10000, 1 << 28];

function mutate(bytes: Uint8Array, rng: CounterRng): Uint8Array {
	let draws = 0;
	const below = (n: number) => Math.floor(rng.uniform(draws++) * n);
	let out = bytes.slice();
	for (let times = 1 + below(3); times > 0; times--) {
		// Headers and trailers are where the claims are.
		const region = below(3) === 0 ? out.length : Math.min(out.length, 512);
		const at = below(4) === 0 ? out.length - 1 - below(Math.min(64, out.length)) : below(region);
		const kind = below(6);
		if (kind === 0) out[at]! ^= 1 << below(8);
		else if (kind === 1) out[at] = below(256);
		else if (kind === 2)
			new DataView(out.buffer).setUint32(Math.min(at, out.length - 4), EDGES[below(EDGES.length)]!, true);
		else if (kind === 3) out = out.slice(0, Math.max(8, at));
		else if (kind === 4)
			out = new Uint8Array(Buffer.concat([out.subarray(0, at), out.subarray(below(at + 1))]));
		else out.copyWithin(at, below(out.length), at + 1 + below(32));
	}
	return out;
}

async function outcome(read: () => Promise<unknown>): Promise<"read" | "refused"> {
	try {
		await read();
		return "read";
	} catch (error) {
		if (!isSaeError(error)) throw error;
		expect(error.message).not.toContain("\n");
		return "refused";
	}
}

describe.each(await soundFiles(folder))("$format", ({ format, bytes, tensor }) => {
	test(`${MUTATIONS} mutations`, async () => {
		const before = process.memoryUsage.rss();
		const path = join(folder, "input");
		const outcomes = { read: 0, refused: 0 };
		for (let i = 0; i < MUTATIONS; i++) {
			const damaged = mutate(bytes, new CounterRng(SEED).derive(i));
			try {
				await Bun.write(path, damaged);
				outcomes[await outcome(() => openSource("file", { paths: [path], tensor }).then(rowsFrom))]++;
				if (format.startsWith("Arrow")) await outcome(() => readBytes(damaged).then(allBatches));
			} catch (error) {
				throw new Error(`mutation ${i} of seed ${SEED}`, { cause: error });
			}
		}
		// Otherwise the mutations would be too mild, or too wild, to show anything.
		expect(outcomes.refused).toBeGreaterThan(MUTATIONS / 10);
		expect(outcomes.refused).toBeLessThan(MUTATIONS);
		expect(process.memoryUsage.rss() - before).toBeLessThan(MAX_GROWTH_BYTES);
	}, 60_000);
});

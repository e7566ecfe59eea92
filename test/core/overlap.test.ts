import { describe, expect, test } from "bun:test";
import { overlapped } from "../../core/overlap.ts";

/** Items 0, 1, … whose reading is written down, as is what else happens. */
async function* numbered(count: number, log: string[]): AsyncGenerator<number> {
	try {
		for (let i = 0; i < count; i++) {
			log.push(`read ${i}`);
			yield i;
		}
	} finally {
		log.push("closed");
	}
}

/** Results of work in order of its items, though later items are done first. */
function upsideDown(log: string[]) {
	return async (item: number, taken: () => void) => {
		log.push(`begin ${item}`);
		taken();
		await Bun.sleep(item % 2 === 0 ? 4 : 0);
		log.push(`end ${item}`);
		return item * item;
	};
}

describe("overlapped work", () => {
	test("comes in order, and the next item is begun while one is waited for", async () => {
		const log: string[] = [];
		expect(await Array.fromAsync(overlapped(numbered(5, log), upsideDown(log)))).toEqual([0, 1, 4, 9, 16]);
		expect(log.indexOf("begin 1")).toBeLessThan(log.indexOf("end 0"));
		expect(log.indexOf("end 1")).toBeLessThan(log.indexOf("end 0"));
		// Two are under way, and no more.
		expect(log.indexOf("read 2")).toBeGreaterThan(log.indexOf("end 0"));
	});

	test("does not ask for the next item while it needs the one it has", async () => {
		const shared = new Float32Array(1);
		async function* reusing() {
			for (let i = 0; i < 4; i++) {
				shared[0] = i;
				yield shared;
			}
		}
		const late = async (item: Float32Array) => {
			await Bun.sleep(1);
			return item[0]!;
		};
		expect(await Array.fromAsync(overlapped(reusing(), late))).toEqual([0, 1, 2, 3]);
	});

	test("passes on what is there, however long the next item takes", async () => {
		async function* stalling() {
			yield 1;
			await new Promise(() => {});
		}
		const results = overlapped(stalling(), async (item, taken) => {
			taken();
			return item;
		});
		expect(await results.next()).toEqual({ done: false, value: 1 });
		expect(await results.return(undefined)).toEqual({ done: true, value: undefined });
	});

	test("fails in its turn, whether reading or work failed", async () => {
		async function* breaking() {
			yield 1;
			throw new Error("torn");
		}
		const seen: number[] = [];
		const pass = async (work: (item: number, taken: () => void) => Promise<number>) => {
			for await (const result of overlapped(breaking(), work)) seen.push(result);
		};
		const slow = async (item: number, taken: () => void) => {
			taken();
			await Bun.sleep(2);
			return item;
		};
		await expect(pass(slow)).rejects.toThrow("torn");
		expect(seen).toEqual([1]);
		await expect(pass(() => Promise.reject(new Error("no room")))).rejects.toThrow("no room");
	});

	test("closes what it reads from when it is left", async () => {
		const log: string[] = [];
		for await (const _ of overlapped(numbered(9, log), upsideDown(log))) break;
		await Bun.sleep(10);
		expect(log).toContain("closed");
		expect(log).not.toContain("begin 2");
	});
});

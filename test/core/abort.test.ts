import { expect, test } from "bun:test";
import { unlessAborted } from "../../core/abort.ts";

const never = new Promise<never>(() => {});

test("what is waited for comes, or fails, unless the signal is first", async () => {
	const controller = new AbortController();
	const { signal } = controller;
	expect(await unlessAborted(Promise.resolve(3), signal)).toBe(3);
	await expect(unlessAborted(Promise.reject(new Error("torn")), signal)).rejects.toThrow("torn");
	const waiting = unlessAborted(never, signal);
	controller.abort(new Error("interrupted"));
	await expect(waiting).rejects.toThrow("interrupted");
	await expect(unlessAborted(Promise.resolve(3), signal)).rejects.toThrow("interrupted");
});

test("what came is not held while the signal may still come", async () => {
	const { signal } = new AbortController();
	const seen: WeakRef<object>[] = [];
	for (let i = 0; i < 50; i++) {
		seen.push(new WeakRef(await unlessAborted(Promise.resolve({ batch: i }), signal)));
	}
	await Bun.sleep(0);
	Bun.gc(true);
	expect(seen.filter((batch) => batch.deref() !== undefined).length).toBeLessThan(10);
});

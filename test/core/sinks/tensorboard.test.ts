import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32c } from "../../../core/sinks/crc32c.ts";
import { tensorboardSink } from "../../../core/sinks/tensorboard.ts";
import type { TrainMetrics } from "../../../core/train/job.ts";

let folder: string;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-tensorboard-"));
});
afterAll(() => rm(folder, { recursive: true }));

const row = (sae: string, step: number, fvu: number | null): TrainMetrics => ({
	sae,
	step,
	tokens: step * 1024,
	loss: 0.5,
	fvu,
	l0: 32,
	dead: 0,
	eval_fvu: null,
	eval_l0: null,
	lr: 2e-4,
	rate: 1000,
	seconds: 1.5,
});

describe("tensorboardSink", () => {
	test("writes one run per SAE that a plain decoder of the format reads back", async () => {
		const sink = tensorboardSink(folder);
		await sink.write(row("wide", 300, 0.25));
		await sink.write(row("narrow", 300, null));
		await sink.write(row("wide", 400, 0.125));
		await sink.close();

		const [version, start, first, second, ...rest] = await readEvents(join(folder, "wide"));
		expect(rest).toEqual([]);
		expect(text(version!.get(3))).toBe("brain.Event:2");
		expect([start!.get(2), fields(start!.get(7) as Uint8Array).get(1)]).toEqual([300, 1]);
		expect([first!.get(2), second!.get(2)]).toEqual([300, 400]);
		expect(Math.abs((first!.get(1) as number) - Date.now() / 1000)).toBeLessThan(3600);
		expect(scalars(first!)).toEqual({
			tokens: 307200,
			loss: 0.5,
			fvu: 0.25,
			l0: 32,
			dead: 0,
			lr: Math.fround(2e-4),
			rate: 1000,
			seconds: 1.5,
		});
		expect(scalars(second!).fvu).toBe(0.125);

		const narrow = await readEvents(join(folder, "narrow"));
		expect(narrow.length).toBe(3);
		expect(Object.keys(scalars(narrow[2]!))).not.toContain("fvu");
	});

	test("says where it can't write", async () => {
		const file = join(folder, "a-file");
		await Bun.write(file, "text");
		await expect(tensorboardSink(file).write(row("sae", 1, 1))).rejects.toThrow("can't be written (ENOTDIR)");
	});
});

type Fields = Map<number, number | Uint8Array | Uint8Array[]>;

const text = (bytes: unknown) => new TextDecoder().decode(bytes as Uint8Array);

/** Reads frames by their definition and checks both checksums. */
async function readEvents(run: string): Promise<Fields[]> {
	const [name, ...others] = await readdir(run);
	expect(name).toStartWith("events.out.tfevents.");
	expect(others).toEqual([]);
	const bytes = await Bun.file(join(run, name!)).bytes();
	const view = new DataView(bytes.buffer, bytes.byteOffset);
	const events: Fields[] = [];
	for (let at = 0; at < bytes.length; ) {
		const length = Number(view.getBigUint64(at, true));
		const message = bytes.subarray(at + 12, at + 12 + length);
		expect(unmask(view.getUint32(at + 8, true))).toBe(crc32c(bytes.subarray(at, at + 8)));
		expect(unmask(view.getUint32(at + 12 + length, true))).toBe(crc32c(message));
		events.push(fields(message));
		at += 16 + length;
	}
	return events;
}

function unmask(masked: number): number {
	const rotated = (masked - 0xa282ead8) >>> 0;
	return ((rotated >>> 17) | (rotated << 15)) >>> 0;
}

/** Fields of a protobuf message by number; a message field that repeats becomes an array. */
function fields(message: Uint8Array): Fields {
	const view = new DataView(message.buffer, message.byteOffset, message.length);
	const found: Fields = new Map();
	let at = 0;
	const take = (count: number) => {
		at += count;
		return at - count;
	};
	const varint = () => {
		let value = 0;
		for (let scale = 1; ; scale *= 128) {
			const byte = message[at++]!;
			value += (byte & 127) * scale;
			if (byte < 128) return value;
		}
	};
	while (at < message.length) {
		const tag = varint();
		const number = tag >>> 3;
		const wire = tag & 7;
		if (wire === 0) found.set(number, varint());
		else if (wire === 1) found.set(number, view.getFloat64(take(8), true));
		else if (wire === 5) found.set(number, view.getFloat32(take(4), true));
		else {
			expect(wire).toBe(2);
			const start = take(varint());
			const bytes = message.subarray(start, at);
			const before = found.get(number);
			if (before === undefined) found.set(number, bytes);
			else found.set(number, [...(Array.isArray(before) ? before : [before as Uint8Array]), bytes]);
		}
	}
	return found;
}

function scalars(event: Fields): Record<string, number> {
	const values = fields(event.get(5) as Uint8Array).get(1);
	return Object.fromEntries(
		(values as Uint8Array[]).map((value) => {
			const scalar = fields(value);
			return [text(scalar.get(1)), scalar.get(2) as number];
		}),
	);
}

/**
 * TensorBoard event files: TFRecord frames around `tensorflow.Event` messages (tensorflow/core/util/event.proto).
 * Every SAE of a run is a run of its own in TensorBoard, in the folder of its name.
 */
import { type FileHandle, mkdir, open } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { PbfWriter } from "pbf";
import { SaeError } from "../errors.ts";
import type { TrainMetrics } from "../train/job.ts";
import { maskedCrc32c } from "./crc32c.ts";
import type { MetricSink } from "./sink.ts";

/** Field numbers of the messages. */
const EVENT = { wallTime: 1, step: 2, fileVersion: 3, summary: 5, sessionLog: 7 };
const SUMMARY = { value: 1 };
const VALUE = { tag: 1, simpleValue: 2 };
const SESSION_LOG = { status: 1 };
const SESSION_START = 1;

/**
 * Adds event files under `folder`; those of earlier runs stay, and TensorBoard joins them.
 *
 * @example
 * const sink = tensorboardSink("runs/logs");
 * await sink.write(metrics);
 * await sink.close();
 */
export function tensorboardSink(folder: string): MetricSink {
	const files = new Map<string, Promise<FileHandle>>();
	return {
		async write(row) {
			let opening = files.get(row.sae);
			if (!opening) {
				opening = openEventFile(join(folder, row.sae), row.step);
				files.set(row.sae, opening);
			}
			await (await opening).writeFile(record(scalarsEvent(row)));
		},
		async close() {
			for (const file of files.values()) await (await file).close();
		},
	};
}

async function openEventFile(folder: string, firstStep: number): Promise<FileHandle> {
	// TensorBoard reads a folder's files in the order of their names.
	const seconds = String(Math.floor(Date.now() / 1000)).padStart(10, "0");
	const path = join(folder, `events.out.tfevents.${seconds}.${hostname()}.${process.pid}`);
	const file = await mkdir(folder, { recursive: true })
		.then(() => open(path, "a"))
		.catch((error: NodeJS.ErrnoException) => {
			throw new SaeError(`${path}: can't be written (${error.code}); check that its folder is writable`);
		});
	await file.writeFile(record(versionEvent()));
	await file.writeFile(record(sessionStartEvent(firstStep)));
	return file;
}

function versionEvent(): PbfWriter {
	const event = newEvent();
	event.writeStringField(EVENT.fileVersion, "brain.Event:2");
	return event;
}

/** Makes TensorBoard drop what an interrupted run logged from this step on. */
function sessionStartEvent(step: number): PbfWriter {
	const event = newEvent(step);
	event.writeMessage(
		EVENT.sessionLog,
		(status, log) => log.writeVarintField(SESSION_LOG.status, status),
		SESSION_START,
	);
	return event;
}

/** One event with a scalar for every figure that was computed. */
function scalarsEvent(row: TrainMetrics): PbfWriter {
	const { sae: _, step, ...figures } = row;
	const event = newEvent(step);
	event.writeMessage(
		EVENT.summary,
		(_, summary) => {
			for (const [tag, figure] of Object.entries(figures)) {
				if (figure !== null) summary.writeMessage(SUMMARY.value, writeScalar, { tag, figure });
			}
		},
		undefined,
	);
	return event;
}

function writeScalar({ tag, figure }: { tag: string; figure: number }, value: PbfWriter): void {
	value.writeStringField(VALUE.tag, tag);
	value.writeFloatField(VALUE.simpleValue, figure);
}

function newEvent(step = 0): PbfWriter {
	const event = new PbfWriter();
	event.writeDoubleField(EVENT.wallTime, Date.now() / 1000);
	event.writeVarintField(EVENT.step, step);
	return event;
}

/** A TFRecord frame: length, its masked CRC, the message, its masked CRC; all little-endian. */
function record(event: PbfWriter): Uint8Array {
	const message = event.finish();
	const frame = new Uint8Array(12 + message.length + 4);
	const view = new DataView(frame.buffer);
	view.setBigUint64(0, BigInt(message.length), true);
	view.setUint32(8, maskedCrc32c(frame.subarray(0, 8)), true);
	frame.set(message, 12);
	view.setUint32(12 + message.length, maskedCrc32c(message), true);
	return frame;
}

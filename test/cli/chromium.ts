/** Drives a headless Chromium, where one is installed, through its debugging protocol. */
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Path of the browser, if there is any. */
export const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(
	(path) => existsSync(path),
);

/** WebGPU on the CPU, so that it is there everywhere. */
const FLAGS = [
	"--headless",
	"--no-sandbox",
	"--remote-debugging-port=0",
	"--enable-unsafe-webgpu",
	"--use-webgpu-adapter=swiftshader",
	"--enable-features=Vulkan",
	"--no-first-run",
];

/** Milliseconds to wait for something that ought to come at once. */
const PATIENCE = 30_000;

interface Message {
	readonly id?: number;
	readonly method?: string;
	readonly params?: Readonly<Record<string, unknown>>;
	readonly result?: Readonly<Record<string, unknown>>;
}

/** Ends with the scope that it is in, also when a test fails. */
export interface Tab extends AsyncDisposable {
	open(address: string): Promise<void>;
	/** The value of an expression, which may be a promise. */
	value<T>(expression: string): Promise<T>;
	/** Waits until an expression is true. */
	until(expression: string): Promise<void>;
	press(key: string): Promise<void>;
	/** Addresses that were asked for, and what the browser complained of. */
	readonly requests: readonly string[];
	readonly complaints: readonly string[];
}

export async function openTab(chromium: string): Promise<Tab> {
	const profile = await mkdtemp(join(tmpdir(), "sae-chromium-"));
	const child = Bun.spawn([chromium, ...FLAGS, `--user-data-dir=${profile}`, "about:blank"], {
		stdout: "ignore",
		stderr: "pipe",
	});
	const socket = new WebSocket(await addressIn(child.stderr));
	await new Promise((done) => socket.addEventListener("open", done));
	const waiting = new Map<number, (message: Message) => void>();
	const requests: string[] = [];
	const complaints: string[] = [];
	socket.addEventListener("message", ({ data }) => {
		const message = JSON.parse(String(data)) as Message;
		if (message.id !== undefined) waiting.get(message.id)?.(message);
		else if (message.method === "Network.requestWillBeSent") {
			requests.push((message.params as { request: { url: string } }).request.url);
		} else if (message.method === "Log.entryAdded" || message.method === "Runtime.exceptionThrown") {
			complaints.push(JSON.stringify(message.params));
		}
	});
	let sent = 0;
	const call = async <T>(method: string, params: object = {}, sessionId?: string): Promise<T> => {
		const id = ++sent;
		const answer = new Promise<Message>((resolve) => waiting.set(id, resolve));
		socket.send(JSON.stringify({ id, method, params, sessionId }));
		return (await answer).result as T;
	};
	const { targetId } = await call<{ targetId: string }>("Target.createTarget", { url: "about:blank" });
	const { sessionId } = await call<{ sessionId: string }>("Target.attachToTarget", {
		targetId,
		flatten: true,
	});
	for (const part of ["Page", "Runtime", "Log", "Network"]) await call(`${part}.enable`, {}, sessionId);
	const value = async <T>(expression: string): Promise<T> => {
		const { result, exceptionDetails } = await call<{ result: { value: T }; exceptionDetails?: object }>(
			"Runtime.evaluate",
			{ expression, awaitPromise: true, returnByValue: true },
			sessionId,
		);
		if (exceptionDetails) throw new Error(JSON.stringify(exceptionDetails));
		return result.value;
	};
	return {
		requests,
		complaints,
		value,
		open: (url) => call("Page.navigate", { url }, sessionId),
		async until(expression) {
			const end = Date.now() + PATIENCE;
			while (!(await value<boolean>(expression))) {
				if (Date.now() > end) throw new Error(`the page never came to: ${expression}`);
				await Bun.sleep(50);
			}
		},
		async press(key) {
			const text = key.length === 1 ? { text: key } : {};
			await call("Input.dispatchKeyEvent", { type: "keyDown", key, ...text }, sessionId);
			await call("Input.dispatchKeyEvent", { type: "keyUp", key }, sessionId);
		},
		async [Symbol.asyncDispose]() {
			socket.close();
			child.kill();
			await child.exited;
			await rm(profile, { recursive: true, force: true });
		},
	};
}

async function addressIn(output: ReadableStream<Uint8Array>): Promise<string> {
	let text = "";
	for await (const piece of output) {
		text += new TextDecoder().decode(piece);
		const found = /DevTools listening on (ws:\S+)/.exec(text)?.[1];
		if (found) return found;
	}
	throw new Error(`Chromium does not start: ${text}`);
}

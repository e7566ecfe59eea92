/** What a running command lends to the plugins it calls. */
import { EXIT, SaeError } from "../core/errors.ts";
import type { Gpu } from "../core/gpu/device.ts";
import type { Context } from "../core/plugin.ts";
import { createLogger } from "./log.ts";
import { registry } from "./plugins.ts";

/** A context, and the end of it: `close` frees the GPU when it was opened. */
export interface RunningContext extends Context {
	close(): Promise<void>;
}

export function createContext(words: readonly string[], debug: boolean): RunningContext {
	const log = createLogger(debug);
	const controller = new AbortController();
	const forget = stopOnSignals(controller);
	let gpu: Promise<Gpu> | undefined;
	const openedGpu = () => {
		gpu ??= import("../core/gpu/device.ts").then(({ openGpu }) => openGpu(log));
		return gpu;
	};
	return {
		log,
		signal: controller.signal,
		command: ["sae", ...words].map(quote).join(" "),
		gpu: openedGpu,
		async loadSae(path) {
			const { loadSae } = await import("../core/load.ts");
			return loadSae(path, registry);
		},
		async openSae(model, { k } = {}) {
			const { openSae } = await import("../core/open-sae.ts");
			return openSae(model, { k, gpu: await openedGpu(), registry });
		},
		async close() {
			forget();
			(await gpu?.catch(() => undefined))?.close();
		},
	};
}

/** The first signal asks the command to save and end; a second one ends it at once. */
function stopOnSignals(controller: AbortController): () => void {
	const stop = (signal: NodeJS.Signals) => {
		if (controller.signal.aborted) process.exit(EXIT.interrupted);
		controller.abort(new SaeError(`stopped by ${signal}`, EXIT.interrupted));
	};
	process.on("SIGINT", stop).on("SIGTERM", stop);
	return () => process.off("SIGINT", stop).off("SIGTERM", stop);
}

/** As a shell would need it. */
function quote(word: string): string {
	return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

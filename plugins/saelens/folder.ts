/** The two files of an SAE folder. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";

export const CFG = "cfg.json";
export const WEIGHTS = "sae_weights.safetensors";

/** Reads the description, then lets `read` read the rest; again when the description changed meanwhile. */
export async function readFolder<T>(path: string, read: (cfg: string) => Promise<T>): Promise<T> {
	const cfg = await readFile(join(path, CFG), "utf8");
	const result = await read(cfg).then(
		(value) => ({ value }),
		(error: unknown) => ({ error }),
	);
	// Whatever was read or went wrong counts only if no writer came between.
	if ((await readFile(join(path, CFG), "utf8")) !== cfg) return readFolder(path, read);
	if ("error" in result) throw result.error;
	return result.value;
}

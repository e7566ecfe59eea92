/** How much device memory there is, which WebGPU does not say. */
import { readdir } from "node:fs/promises";
import { freemem, totalmem } from "node:os";
import type { GpuInfo } from "./device.ts";

/** What is taken to be free where nobody says. */
const UNKNOWN = 4e9;

/** Of what is free, the share that may be used: some is left to drivers, programs and the error of estimates. */
const SHARE = 0.8;

/** Bytes of device memory that may be used. With several GPUs, those of the one that has the least. */
export async function freeMemory(info: Pick<GpuInfo, "software" | "vendor">): Promise<number> {
	const free = info.software ? availableMemory() : ((await nvidia()) ?? (await amd()) ?? apple() ?? UNKNOWN);
	return SHARE * free;
}

/** Bytes of the computer's own memory that programs can have. */
function availableMemory(): number {
	return process.availableMemory?.() ?? freemem();
}

async function nvidia(): Promise<number | undefined> {
	if (!Bun.which("nvidia-smi")) return undefined;
	const query = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"];
	const { stdout, exitCode } = Bun.spawnSync({ cmd: query, stdout: "pipe", stderr: "ignore" });
	const mebibytes = stdout.toString().trim().split("\n").map(Number);
	return exitCode === 0 && mebibytes.every((value) => value > 0)
		? Math.min(...mebibytes) * 2 ** 20
		: undefined;
}

/** From the files of Linux's amdgpu driver. */
async function amd(): Promise<number | undefined> {
	const cards = (await readdir("/sys/class/drm").catch(() => [])).filter((name) => /^card\d+$/.test(name));
	const free = await Promise.all(
		cards.map(async (card) => {
			const read = async (name: string) =>
				Number(await Bun.file(`/sys/class/drm/${card}/device/mem_info_vram_${name}`).text());
			return (await read("total")) - (await read("used"));
		}),
	).catch(() => []);
	return free.length > 0 ? Math.min(...free) : undefined;
}

/** Apple's GPUs share the computer's memory, and take up to about two thirds of it. */
function apple(): number | undefined {
	return process.platform === "darwin" ? (totalmem() * 2) / 3 : undefined;
}

/** Opens the GPU for a command. */
import { Gpu, type OpenDevice } from "../../kernels/gpu.ts";
import { EXIT, SaeError, usageError } from "../errors.ts";
import { bunWebgpu, isBuilt } from "./bun-webgpu.ts";
import { tuned } from "./tune.ts";
import { isInstalled, openTensorCores, webgpu } from "./webgpu.ts";

export type { Gpu, GpuInfo } from "../../kernels/gpu.ts";

const PROVIDERS = [bunWebgpu, webgpu];

/**
 * A device that computes: a GPU, or its software stand-in, which is announced through `log`.
 * @throws SaeError when there is none.
 */
export async function openGpu(log?: {
	warn(message: string): void;
	info?(message: string): void;
}): Promise<Gpu> {
	const gpu = new Gpu(await tuned(await openDevice(), log));
	if (gpu.info.software) {
		log?.warn(
			`no GPU: computing on the CPU with ${gpu.info.description}, which is slow (see \`sae doctor\`)`,
		);
	}
	if (gpu.halfProduct) {
		log?.info?.(`tensor cores of ${gpu.info.description}, through ${gpu.info.provider} (see docs/gpu.md)`);
	}
	return gpu;
}

/** The provider that `SAE_GPU` names; else tensor cores where they can be had, and else the default that runs here. */
async function openDevice(): Promise<OpenDevice> {
	const { SAE_GPU: name, SAE_VULKAN: driver } = process.env;
	if (name) {
		const provider = PROVIDERS.find((each) => each.name === name);
		if (!provider)
			throw usageError(`SAE_GPU=${name}: must be ${PROVIDERS.map((each) => each.name).join(" or ")}`);
		return provider.open();
	}
	const wantsGpu = driver === undefined || driver === "" || driver === "gpu";
	const opened = wantsGpu ? await openTensorCores() : undefined;
	if (opened) return opened;
	if (isBuilt()) return bunWebgpu.open();
	if (isInstalled()) return webgpu.open();
	throw new SaeError(
		`bun-webgpu has no build for ${process.platform} ${process.arch}: npm install webgpu, which then is used instead`,
		EXIT.device,
	);
}

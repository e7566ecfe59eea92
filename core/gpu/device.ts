/** Opens the GPU for a command. */
import { Gpu } from "../../kernels/gpu.ts";
import { bunWebgpu } from "./bun-webgpu.ts";

export type { Gpu, GpuInfo } from "../../kernels/gpu.ts";

/**
 * A device that computes: a GPU, or its software stand-in, which is announced through `log`.
 * @throws SaeError when there is none.
 */
export async function openGpu(log?: { warn(message: string): void }): Promise<Gpu> {
	const gpu = new Gpu(await bunWebgpu.open());
	if (gpu.info.software) {
		log?.warn(
			`no GPU: computing on the CPU with ${gpu.info.description}, which is slow (see \`sae doctor\`)`,
		);
	}
	return gpu;
}

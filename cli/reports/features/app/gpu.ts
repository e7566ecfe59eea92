/** The browser's GPU. */
import { allLimits } from "../../../../core/gpu/adapter.ts";
import { Gpu } from "../../../../kernels/gpu.ts";

/** Drivers that compute on the CPU, for which work is cut differently. */
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|basic render/i;

/** A device of the browser, or in words why there is none. */
export async function openBrowserGpu(gpu: GPU | undefined): Promise<Gpu | string> {
	if (!gpu) return "This browser has no WebGPU, or not for files from a disk.";
	const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
	if (!adapter) return "This browser has WebGPU, but finds no GPU for it.";
	const device = await adapter.requestDevice({ requiredLimits: allLimits(adapter) });
	const { vendor, device: name, description, architecture } = adapter.info;
	const info = {
		provider: "browser",
		backend: "WebGPU",
		vendor,
		device: name,
		description: description || [vendor, architecture].filter(Boolean).join(" "),
		software: SOFTWARE.test(`${name} ${description} ${architecture}`),
	};
	return new Gpu({ device, info, keepAlive: [adapter] });
}

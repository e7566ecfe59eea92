/** What every provider asks of the platform and of an adapter. */
import type { GpuInfo } from "../../kernels/gpu.ts";

const SOFTWARE = /llvmpipe|lavapipe|swiftshader|basic render/i;

const BACKENDS: Readonly<Record<string, string>> = {
	linux: "Vulkan",
	darwin: "Metal",
	win32: "D3D12",
};

/** The graphics interface that Dawn computes through on a platform, as Node names it. */
export function backendOf(platform: string): string {
	return BACKENDS[platform] ?? "Vulkan";
}

/** Every limit the adapter has: bun-webgpu fills omitted ones with defaults that its own Dawn may refuse. */
export function allLimits(adapter: GPUAdapter): Record<string, number> {
	const limits: Record<string, number> = {};
	for (const name in adapter.limits) {
		const value = adapter.limits[name as keyof GPUSupportedLimits];
		if (typeof value === "number" && name !== "maxInterStageShaderComponents") limits[name] = value;
	}
	return limits;
}

/** What is said of an adapter. */
export function infoOf(adapter: GPUAdapter, provider: string): GpuInfo {
	const { vendor, device, description } = adapter.info;
	const backend = backendOf(process.platform);
	return { provider, backend, vendor, device, description, software: isSoftware(adapter) };
}

export function isSoftware(adapter: GPUAdapter): boolean {
	return SOFTWARE.test(`${adapter.info.description} ${adapter.info.device}`);
}

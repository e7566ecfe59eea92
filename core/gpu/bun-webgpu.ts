/** The default provider: Dawn through the bun-webgpu package. */
import { createGPUInstance } from "bun-webgpu";
import type { GpuProvider, OpenDevice } from "../../kernels/gpu.ts";
import { EXIT, SaeError } from "../errors.ts";
import { allLimits, infoOf } from "./adapter.ts";
import { type Found, findAdapter } from "./find-adapter.ts";
import { holdingBuffers } from "./held-buffers.ts";

/** bun-webgpu ends the reads of a device that is closed with this class, which it forgot to define. */
class AbortError extends Error {
	override readonly name = "AbortError";
}
Object.assign(globalThis, { AbortError });

/** What of a device takes descriptors that have parts, such as a label. Command encoders are made without. */
const DESCRIBED = [
	"createBuffer",
	"createShaderModule",
	"createComputePipeline",
	"createBindGroup",
	"createQuerySet",
] as const;

export const bunWebgpu: GpuProvider = { name: "bun-webgpu", open };

async function open(): Promise<OpenDevice> {
	const { gpu, adapter } = await findAdapter(request);
	const info = infoOf(adapter, "bun-webgpu");
	const requiredLimits = allLimits(adapter);
	const requiredFeatures = (["timestamp-query", "subgroups"] as GPUFeatureName[]).filter((f) =>
		adapter.features.has(f),
	);
	const device = await holdingBuffers(() => adapter.requestDevice({ requiredLimits, requiredFeatures }))();
	const methods: Record<string, (descriptor: unknown) => unknown> = device as never;
	for (const name of DESCRIBED) methods[name] = holdingBuffers(methods[name]!.bind(device));
	return { device, info, keepAlive: [gpu, adapter, device, device.queue] };
}

/** Naming the backend keeps Dawn from handing out its Null adapter, which accepts every call and computes nothing. */
async function request(backend: string): Promise<Found | undefined> {
	const gpu = instance();
	const options = { backendType: backend, powerPreference: "high-performance" } as GPURequestAdapterOptions;
	const adapter = await holdingBuffers(() => gpu.requestAdapter(options))();
	return adapter && adapter.info.device !== "null-backend" ? { gpu, adapter } : undefined;
}

/** Whether there is a build for this platform. */
export function isBuilt(): boolean {
	try {
		createGPUInstance();
		return true;
	} catch {
		return false;
	}
}

function instance(): GPU {
	try {
		return createGPUInstance();
	} catch (error) {
		throw new SaeError(error instanceof Error ? error.message : String(error), EXIT.device, { cause: error });
	}
}

/** The default provider: Dawn through the bun-webgpu package. */
import { createGPUInstance } from "bun-webgpu";
import type { GpuProvider, OpenDevice } from "../../kernels/gpu.ts";
import { EXIT, SaeError, usageError } from "../errors.ts";
import { allLimits, backendOf } from "./adapter.ts";
import { holdingBuffers } from "./held-buffers.ts";
import {
	hasSwiftShader,
	hasSystemVulkan,
	lavapipeManifest,
	useDriver,
	useSwiftShader,
} from "./software-vulkan.ts";

const SOFTWARE = /llvmpipe|lavapipe|swiftshader|basic render/i;

/** bun-webgpu ends the reads of a device that is closed with this class, which it forgot to define. */
class AbortError extends Error {
	override readonly name = "AbortError";
}
Object.assign(globalThis, { AbortError });

/** lavapipe was tried from this Mesa release on. Dawn itself refuses that of Debian 12, 22.3. */
const OLDEST_MESA = 25;

/** What of a device takes descriptors that have parts, such as a label. Command encoders are made without. */
const DESCRIBED = [
	"createBuffer",
	"createShaderModule",
	"createComputePipeline",
	"createBindGroup",
	"createQuerySet",
] as const;

export const bunWebgpu: GpuProvider = { name: "bun-webgpu", open };

interface Found {
	readonly gpu: GPU;
	readonly adapter: GPUAdapter;
}

async function open(): Promise<OpenDevice> {
	const backend = backendOf(process.platform);
	const { gpu, adapter } = process.platform === "linux" ? await findVulkan() : await findNative(backend);
	const info = {
		provider: "bun-webgpu",
		backend,
		vendor: adapter.info.vendor,
		device: adapter.info.device,
		description: adapter.info.description,
		software: isSoftware(adapter),
	};
	const requiredLimits = allLimits(adapter);
	const requiredFeatures = (["timestamp-query", "subgroups"] as GPUFeatureName[]).filter((f) =>
		adapter.features.has(f),
	);
	const device = await holdingBuffers(() => adapter.requestDevice({ requiredLimits, requiredFeatures }))();
	const methods: Record<string, (descriptor: unknown) => unknown> = device as never;
	for (const name of DESCRIBED) methods[name] = holdingBuffers(methods[name]!.bind(device));
	return { device, info, keepAlive: [gpu, adapter, device, device.queue] };
}

async function findNative(backend: string): Promise<Found> {
	const found = await request(backend);
	if (!found) throw new SaeError(`no ${backend} device was found: install a GPU driver`, EXIT.device);
	return found;
}

/** A real GPU or a recent lavapipe, as the system offers; else SwiftShader. `SAE_VULKAN` forces one of the three. */
async function findVulkan(): Promise<Found> {
	switch (process.env.SAE_VULKAN) {
		case undefined:
		case "":
			return (
				(await findSystem()) ??
				(await findSwiftShader()) ??
				fail(
					"no Vulkan driver works on this machine: install the GPU's driver, or run " +
						"`sae doctor --install-software-vulkan` for a slow one that runs on the CPU and needs no root",
				)
			);
		case "gpu": {
			const found = await request("Vulkan");
			return found && !isSoftware(found.adapter)
				? found
				: fail("SAE_VULKAN=gpu: no GPU with a driver was found");
		}
		case "lavapipe":
			return (
				(await findLavapipe()) ?? fail("SAE_VULKAN=lavapipe: no lavapipe of Mesa 25 or newer is installed")
			);
		case "swiftshader":
			return (
				(await findSwiftShader()) ??
				fail("SAE_VULKAN=swiftshader: get SwiftShader with `sae doctor --install-software-vulkan`")
			);
		default:
			throw usageError(`SAE_VULKAN=${process.env.SAE_VULKAN}: must be gpu, lavapipe or swiftshader`);
	}
}

async function findSystem(): Promise<Found | undefined> {
	const found = hasSystemVulkan() ? await request("Vulkan") : undefined;
	return found && !isOutdatedMesa(found.adapter) ? found : undefined;
}

async function findLavapipe(): Promise<Found | undefined> {
	const manifest = lavapipeManifest();
	if (manifest === undefined) return undefined;
	useDriver(manifest);
	return request("Vulkan");
}

async function findSwiftShader(): Promise<Found | undefined> {
	if (!hasSwiftShader()) return undefined;
	useSwiftShader();
	return request("Vulkan");
}

function fail(problem: string): never {
	throw new SaeError(problem, EXIT.device);
}

/** Naming the backend keeps Dawn from handing out its Null adapter, which accepts every call and computes nothing. */
async function request(backend: string): Promise<Found | undefined> {
	const gpu = instance();
	const options = { backendType: backend, powerPreference: "high-performance" } as GPURequestAdapterOptions;
	const adapter = await holdingBuffers(() => gpu.requestAdapter(options))();
	return adapter && adapter.info.device !== "null-backend" ? { gpu, adapter } : undefined;
}

function instance(): GPU {
	try {
		return createGPUInstance();
	} catch (error) {
		throw new SaeError(error instanceof Error ? error.message : String(error), EXIT.device, { cause: error });
	}
}

function isSoftware(adapter: GPUAdapter): boolean {
	return SOFTWARE.test(`${adapter.info.description} ${adapter.info.device}`);
}

function isOutdatedMesa(adapter: GPUAdapter): boolean {
	const version = /llvmpipe.*Mesa (\d+)\./.exec(adapter.info.description)?.[1];
	return version !== undefined && Number(version) < OLDEST_MESA;
}

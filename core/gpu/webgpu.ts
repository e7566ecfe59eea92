/**
 * The optional provider: a newer Dawn through the npm package `webgpu`, which reaches tensor cores. It is used where it
 * is installed and finds a GPU that has them, and where bun-webgpu has no build.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { GpuProvider, OpenDevice } from "../../kernels/gpu.ts";
import { attendHalves } from "../../kernels/model/tensor-attention.ts";
import { SUBGROUP, TENSOR_TILE, tensorProduct } from "../../kernels/tensor-product.ts";
import { EXIT, SaeError } from "../errors.ts";
import { modulesAbove } from "../files/node-modules.ts";
import { allLimits, infoOf } from "./adapter.ts";
import { type Found, findAdapter } from "./find-adapter.ts";
import { isOn } from "./switches.ts";

interface WebgpuPackage {
	create(flags: string[]): GPU;
	readonly globals: object;
}

/** Of a device's matrices, as Dawn describes them. */
interface MatrixConfig {
	readonly componentType: string;
	readonly resultComponentType: string;
	readonly M: number;
	readonly N: number;
	readonly K: number;
}

const WANTED: MatrixConfig = { componentType: "f16", resultComponentType: "f32", M: 16, N: 16, K: 16 };

const FEATURES = ["shader-f16", "subgroups", "chromium-experimental-subgroup-matrix"] as GPUFeatureName[];

/** Dawn hides float16 on NVIDIA, and matrices everywhere, behind these. */
const TOGGLES = ["allow_unsafe_apis", "vulkan_enable_f16_on_nvidia"];

export const webgpu: GpuProvider = {
	name: "webgpu",
	async open() {
		const path = moduleOf();
		if (path !== undefined) return (await openTensorCores()) ?? openPlain(path);
		throw new SaeError("SAE_GPU=webgpu asks for the npm package webgpu, but it isn't installed", EXIT.device);
	},
};

/** Bun crashes when any of what is in use is collected, and may when what is closed is; there are few of them. */
const pinned: unknown[] = [];

/** A device with tensor cores, or nothing where the package or such a device is missing. */
export async function openTensorCores(): Promise<OpenDevice | undefined> {
	const path = moduleOf();
	const found = path === undefined ? undefined : await request(path, TOGGLES);
	if (!found || !hasMatrices(found.adapter)) return undefined;
	const halfProduct = { ...tensorProduct(TENSOR_TILE), attend: attendHalves };
	return { ...(await openDevice(found, FEATURES)), halfProduct };
}

/** Whether the package is here. */
export function isInstalled(): boolean {
	return moduleOf() !== undefined;
}

/** Any device, as bun-webgpu would open it. */
async function openPlain(path: string): Promise<OpenDevice> {
	const found = await findAdapter((backend) => request(path, [], backend.toLowerCase()));
	const subgroups = (["subgroups"] as const).filter((feature) => found.adapter.features.has(feature));
	return openDevice(found, subgroups);
}

async function request(
	path: string,
	toggles: readonly string[],
	backend?: string,
): Promise<Found | undefined> {
	const { create, globals }: WebgpuPackage = await import(path);
	Object.assign(globalThis, globals);
	const enabled = boundsChecked() ? toggles : [...toggles, "disable_robustness"];
	const gpu = create([
		...(backend === undefined ? [] : [`backend=${backend}`]),
		`enable-dawn-features=${enabled.join(",")}`,
		"disable-dawn-features=timestamp_quantization",
	]);
	pinned.push(gpu);
	const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
	return adapter ? { gpu, adapter } : undefined;
}

async function openDevice({ adapter }: Found, features: readonly GPUFeatureName[]): Promise<OpenDevice> {
	const optional = (["timestamp-query"] as const).filter((feature) => adapter.features.has(feature));
	const device = await adapter.requestDevice({
		requiredFeatures: [...features, ...optional],
		requiredLimits: allLimits(adapter),
	});
	const info = infoOf(adapter, boundsChecked() ? "webgpu" : "webgpu, bounds unchecked");
	const keepAlive = [adapter, device, device.queue];
	pinned.push(...keepAlive);
	return { device, info, keepAlive };
}

/**
 * The package's module, looked for as Node does. Bun's own resolution would download a package that it doesn't find.
 */
function moduleOf(): string | undefined {
	// A single binary has no packages of its own.
	return [import.meta.dir, process.cwd()]
		.flatMap(modulesAbove)
		.map((modules) => join(modules, "webgpu", "index.js"))
		.find((path) => existsSync(path));
}

function hasMatrices(adapter: GPUAdapter): boolean {
	const { subgroupMatrixConfigs = [] } = adapter.info as { subgroupMatrixConfigs?: MatrixConfig[] };
	const { subgroupMinSize, subgroupMaxSize } = adapter.info;
	if (subgroupMinSize !== SUBGROUP || subgroupMaxSize !== SUBGROUP) return false;
	const fits = (config: MatrixConfig) =>
		Object.entries(WANTED).every(([key, value]) => config[key as keyof MatrixConfig] === value);
	return FEATURES.every((feature) => adapter.features.has(feature)) && subgroupMatrixConfigs.some(fits);
}

/** Whether the device checks every index of every kernel, as it does unless SAE_GPU_CHECKS=off. */
function boundsChecked(): boolean {
	return isOn("SAE_GPU_CHECKS");
}

/**
 * The optional provider: a newer Dawn through the npm package `webgpu`, which reaches tensor cores. It is used where it
 * is installed and finds a GPU that has them.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { GpuInfo, GpuProvider, OpenDevice } from "../../kernels/gpu.ts";
import { SUBGROUP, TENSOR_TILE, tensorProduct } from "../../kernels/tensor-product.ts";
import { EXIT, SaeError } from "../errors.ts";
import { modulesAbove } from "../files/node-modules.ts";
import { allLimits, backendOf } from "./adapter.ts";
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
		const opened = await openTensorCores();
		if (opened) return opened;
		const problem = moduleOf() === undefined ? "it isn't installed" : "it finds no GPU with tensor cores";
		throw new SaeError(`SAE_GPU=webgpu asks for the npm package webgpu, but ${problem}`, EXIT.device);
	},
};

/** Bun crashes when any of what is in use is collected, and may when what is closed is; there are few of them. */
const pinned: unknown[] = [];

/** A device with tensor cores, or nothing where the package or such a device is missing. */
export async function openTensorCores(): Promise<OpenDevice | undefined> {
	const path = moduleOf();
	if (path === undefined) return undefined;
	const { create, globals }: WebgpuPackage = await import(path);
	Object.assign(globalThis, globals);
	const enabled = boundsChecked() ? TOGGLES : [...TOGGLES, "disable_robustness"];
	const gpu = create([
		`enable-dawn-features=${enabled.join(",")}`,
		"disable-dawn-features=timestamp_quantization",
	]);
	pinned.push(gpu);
	const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
	if (!adapter || !hasMatrices(adapter)) return undefined;
	const optional = (["timestamp-query"] as const).filter((feature) => adapter.features.has(feature));
	const device = await adapter.requestDevice({
		requiredFeatures: [...FEATURES, ...optional],
		requiredLimits: allLimits(adapter),
	});
	const { vendor, device: name, description } = adapter.info;
	const info: GpuInfo = {
		provider: boundsChecked() ? "webgpu" : "webgpu, bounds unchecked",
		backend: backendOf(process.platform),
		vendor,
		device: name,
		description,
		software: false,
	};
	const keepAlive = [adapter, device, device.queue];
	pinned.push(...keepAlive);
	return { device, info, halfProduct: tensorProduct(TENSOR_TILE), keepAlive };
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

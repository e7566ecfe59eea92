/** Which driver's adapter a provider takes. */
import { EXIT, SaeError, usageError } from "../errors.ts";
import { backendOf, isSoftware } from "./adapter.ts";
import {
	hasSwiftShader,
	hasSystemVulkan,
	lavapipeManifest,
	useDriver,
	useSwiftShader,
} from "./software-vulkan.ts";

export interface Found {
	readonly gpu: GPU;
	readonly adapter: GPUAdapter;
}

/** A provider's adapter of a backend, if it has one that computes. */
export type RequestAdapter = (backend: string) => Promise<Found | undefined>;

/** lavapipe was tried from this Mesa release on. Dawn itself refuses that of Debian 12, 22.3. */
const OLDEST_MESA = 25;

/** @throws SaeError where no driver works. */
export async function findAdapter(request: RequestAdapter): Promise<Found> {
	if (process.platform === "linux") return findVulkan(request);
	const backend = backendOf(process.platform);
	const found = await request(backend);
	if (!found) throw new SaeError(`no ${backend} device was found: install a GPU driver`, EXIT.device);
	return found;
}

/** A real GPU or a recent lavapipe, as the system offers; else SwiftShader. `SAE_VULKAN` forces one of the three. */
async function findVulkan(request: RequestAdapter): Promise<Found> {
	switch (process.env.SAE_VULKAN) {
		case undefined:
		case "":
			return (
				(await findSystem(request)) ??
				(await findSwiftShader(request)) ??
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
				(await findLavapipe(request)) ??
				fail("SAE_VULKAN=lavapipe: no lavapipe of Mesa 25 or newer is installed")
			);
		case "swiftshader":
			return (
				(await findSwiftShader(request)) ??
				fail("SAE_VULKAN=swiftshader: get SwiftShader with `sae doctor --install-software-vulkan`")
			);
		default:
			throw usageError(`SAE_VULKAN=${process.env.SAE_VULKAN}: must be gpu, lavapipe or swiftshader`);
	}
}

async function findSystem(request: RequestAdapter): Promise<Found | undefined> {
	const found = hasSystemVulkan() ? await request("Vulkan") : undefined;
	return found && !isOutdatedMesa(found.adapter) ? found : undefined;
}

async function findLavapipe(request: RequestAdapter): Promise<Found | undefined> {
	const manifest = lavapipeManifest();
	if (manifest === undefined) return undefined;
	useDriver(manifest);
	return request("Vulkan");
}

async function findSwiftShader(request: RequestAdapter): Promise<Found | undefined> {
	if (!hasSwiftShader()) return undefined;
	useSwiftShader();
	return request("Vulkan");
}

function fail(problem: string): never {
	throw new SaeError(problem, EXIT.device);
}

function isOutdatedMesa(adapter: GPUAdapter): boolean {
	const version = /llvmpipe.*Mesa (\d+)\./.exec(adapter.info.description)?.[1];
	return version !== undefined && Number(version) < OLDEST_MESA;
}

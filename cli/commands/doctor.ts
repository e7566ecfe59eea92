/** `sae doctor`: what computes here, whether it computes right, and what to do when it doesn't. */

import { z } from "zod";
import { EXIT, isSaeError } from "../../core/errors.ts";
import type { Gpu, GpuInfo } from "../../core/gpu/device.ts";
import packageJson from "../../package.json" with { type: "json" };
import { defineVerb } from "../command.ts";
import { printText } from "../stdout.ts";

/** Limits that decide how large an SAE can be and which kernels fit. */
const LIMITS = [
	"maxBufferSize",
	"maxStorageBufferBindingSize",
	"maxStorageBuffersPerShaderStage",
	"maxComputeWorkgroupStorageSize",
	"maxComputeInvocationsPerWorkgroup",
] as const;

interface Diagnosis {
	readonly ok: boolean;
	readonly saeflow: string;
	readonly bun: string;
	readonly platform: string;
	readonly gpu?: GpuInfo;
	readonly kernel?: { readonly correct: boolean; readonly milliseconds: number; readonly gflops: number };
	readonly features?: readonly string[];
	readonly limits?: Readonly<Record<string, number>>;
	readonly problem?: string;
	readonly advice: readonly string[];
}

export default defineVerb({
	name: "doctor",
	summary: "checks the GPU or its software stand-in by running a small kernel, and says what to do",
	details:
		"Exits with 0 when a kernel ran correctly and with 4 otherwise. SAE_VULKAN=gpu, lavapipe or swiftshader in " +
		"the environment makes every command use that driver or fail (Linux).",
	examples: [
		{ command: "sae doctor" },
		{
			command: "sae doctor --install-software-vulkan",
			note: "no GPU and no root: get a driver that runs on the CPU",
		},
	],
	options: z.object({
		json: z.boolean().default(false).describe("Print the findings as JSON"),
		install_software_vulkan: z
			.boolean()
			.default(false)
			.describe("First get SwiftShader from the npm registry (Linux x64: 67 MB to load, 7 MB kept)"),
	}),
	async run({ options, context }) {
		if (options.install_software_vulkan) {
			const { installSwiftShader } = await import("../../core/gpu/install-swiftshader.ts");
			context.log.info(`SwiftShader is in ${await installSwiftShader()}`);
		}
		const diagnosis = await diagnose();
		await printText(options.json ? `${JSON.stringify(diagnosis, null, 2)}\n` : asText(diagnosis));
		if (!diagnosis.ok) process.exitCode = EXIT.device;
	},
});

async function diagnose(): Promise<Diagnosis> {
	const host = {
		saeflow: packageJson.version,
		bun: Bun.version,
		platform: `${process.platform} ${process.arch}`,
	};
	const { openGpu } = await import("../../core/gpu/device.ts");
	const { selfTest } = await import("../../core/gpu/self-test.ts");
	try {
		const gpu = await openGpu();
		const kernel = await selfTest(gpu);
		const { features, limits } = gpu.device;
		const problem = kernel.correct ? {} : { problem: "the test kernel's result is wrong: update the driver" };
		const diagnosis = {
			ok: kernel.correct,
			...host,
			gpu: gpu.info,
			kernel,
			features: [...features].sort(),
			limits: Object.fromEntries(LIMITS.map((name) => [name, limits[name]])),
			...problem,
			advice: gpu.info.software ? adviceOnSoftware(gpu.info.description) : adviceOnGpu(gpu),
		};
		gpu.close();
		return diagnosis;
	} catch (error) {
		if (!isSaeError(error) || error.exitCode !== EXIT.device) throw error;
		return { ok: false, ...host, problem: error.message, advice: adviceOnMissing() };
	}
}

const TENSOR_CORES =
	"This GPU may have tensor cores, which train TopK and its like 3 to 4 times as fast to the same result: " +
	"npm install webgpu (see docs/gpu.md).";

const DRIVERS =
	"With a GPU: install its driver. NVIDIA's must include Vulkan (in containers: " +
	"NVIDIA_DRIVER_CAPABILITIES=all or graphics, and libvulkan1); AMD and Intel need mesa-vulkan-drivers.";

const LAVAPIPE =
	"Without a GPU: Mesa's lavapipe, version 25 or newer, is 3 to 4 times as fast as SwiftShader. On Debian 12, " +
	"as root: apt-get install -t bookworm-backports mesa-vulkan-drivers libvulkan1.";

function adviceOnSoftware(description: string): string[] {
	const faster = /swiftshader/i.test(description) ? [LAVAPIPE] : [];
	return [
		"This driver runs on the CPU: right for trying, testing and small data, slow for real training.",
		DRIVERS,
		...faster,
	];
}

function adviceOnGpu({ info, halfProduct }: Gpu): string[] {
	return info.vendor === "nvidia" && !halfProduct ? [TENSOR_CORES] : [];
}

function adviceOnMissing(): string[] {
	if (process.platform !== "linux") return ["Install the GPU's driver."];
	return [DRIVERS, LAVAPIPE, "Without root: sae doctor --install-software-vulkan gets SwiftShader from npm."];
}

function asText(diagnosis: Diagnosis): string {
	const { gpu, kernel, features, limits, problem, advice } = diagnosis;
	const rows: [string, string][] = [
		["saeflow", `${diagnosis.saeflow}, Bun ${diagnosis.bun}, ${diagnosis.platform}`],
	];
	if (gpu) {
		rows.push(
			["provider", `${gpu.provider}, ${gpu.backend}`],
			["device", gpu.description || gpu.device],
			["kind", gpu.software ? "software, on the CPU" : "GPU"],
		);
	}
	if (kernel) {
		const speed = `${kernel.milliseconds.toFixed(1)} ms, about ${kernel.gflops.toPrecision(2)} GFLOP/s`;
		rows.push(["kernel", `${kernel.correct ? "correct" : "WRONG"}, ${speed}`]);
	}
	if (features) rows.push(["features", features.join(", ") || "none"]);
	for (const [name, value] of Object.entries(limits ?? {})) rows.push([name, readable(name, value)]);
	if (problem) rows.push(["problem", problem]);
	const width = Math.max(...rows.map(([name]) => name.length));
	const lines = rows.map(([name, text]) => `${name.padEnd(width)}  ${text}`);
	const advised = advice.length > 0 ? ["", "What to do:", ...advice.map((text) => `- ${text}`)] : [];
	return `${[...lines, ...advised].join("\n")}\n`;
}

function readable(name: string, value: number): string {
	if (!name.endsWith("Size")) return String(value);
	const unit = ["B", "KiB", "MiB", "GiB", "TiB"] as const;
	const power = Math.min(Math.floor(Math.log2(Math.max(value, 1)) / 10), unit.length - 1);
	return `${Number((value / 1024 ** power).toFixed(1))} ${unit[power]}`;
}

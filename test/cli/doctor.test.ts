import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { hasSwiftShader } from "../../core/gpu/software-vulkan.ts";
import { sae } from "./sae.ts";

/** Folders in which the Vulkan loader looks for drivers, all empty. */
const NO_DRIVERS = {
	XDG_CONFIG_HOME: "/nowhere",
	XDG_CONFIG_DIRS: "/nowhere",
	XDG_DATA_HOME: "/nowhere",
	XDG_DATA_DIRS: "/nowhere",
};

test("doctor runs a kernel and says on what", async () => {
	const { stdout, stderr, exitCode } = await sae(["doctor", "--json"]);
	const found = JSON.parse(stdout);
	expect(found).toMatchObject({ ok: true, kernel: { correct: true }, gpu: { provider: "bun-webgpu" } });
	expect(found.limits.maxStorageBufferBindingSize).toBeGreaterThan(2 ** 26);
	expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
});

test("doctor without a driver ends with 4 and says what to do", async () => {
	const env = { ...NO_DRIVERS, SAE_VULKAN: "lavapipe" };
	const { stdout, exitCode } = await sae(["doctor"], env);
	expect(exitCode).toBe(4);
	expect(stdout).toContain("problem  SAE_VULKAN=lavapipe: no lavapipe of Mesa 25 or newer is installed\n");
	expect(stdout).toContain("sae doctor --install-software-vulkan");
	const json = await sae(["doctor", "--json"], env);
	expect(JSON.parse(json.stdout)).toMatchObject({ ok: false, problem: expect.stringContaining("lavapipe") });
});

test("a driver that nobody knows is a usage error", async () => {
	const { stderr, exitCode } = await sae(["doctor"], { SAE_VULKAN: "voodoo" });
	expect(stderr).toBe("sae: SAE_VULKAN=voodoo: must be gpu, lavapipe or swiftshader\n");
	expect(exitCode).toBe(2);
});

test("a provider that nobody knows, or that isn't here, is named", async () => {
	const unknown = await sae(["doctor"], { SAE_GPU: "cuda" });
	expect(unknown.stderr).toBe("sae: SAE_GPU=cuda: must be bun-webgpu or webgpu\n");
	expect(unknown.exitCode).toBe(2);
	const { stdout, exitCode } = await sae(["doctor"], { SAE_GPU: "webgpu", SAE_VULKAN: "lavapipe" });
	const isHere = existsSync(join(import.meta.dir, "../../node_modules/webgpu"));
	expect(stdout).toMatch(
		isHere
			? /provider +webgpu, Vulkan\n/
			: /problem +SAE_GPU=webgpu asks for .* webgpu, but it isn't installed\n/,
	);
	expect(exitCode).toBe(isHere ? 0 : 4);
});

test.skipIf(!hasSwiftShader())("SwiftShader computes right where it is installed", async () => {
	const { stdout } = await sae(["doctor", "--json"], { SAE_VULKAN: "swiftshader" });
	expect(JSON.parse(stdout)).toMatchObject({ ok: true, gpu: { software: true, vendor: "google" } });
});

/**
 * Vulkan drivers of a Linux machine, and how to make Dawn use one of them: the system's, its lavapipe, or a
 * SwiftShader that needs no installation by root.
 *
 * A driver is chosen through `VK_DRIVER_FILES`, which the Vulkan loader reads from libc's environment whenever an
 * instance is made. `process.env` does not reach that environment under Bun, so setenv is called.
 */
import { dlopen } from "bun:ffi";
import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { cachePath } from "../files/cache.ts";

/** The npm package that carries SwiftShader, and its digest of the archive that we take out of it. */
export const SWIFTSHADER = {
	package: "@sparticuz/chromium",
	version: "153.0.0",
	archive: "bin/swiftshader.tar.br",
	sha256: "b680e40a33235ecc6ad4c6897a168b70ce5164f0d62d2a64d675320d51614631",
	files: ["libvk_swiftshader.so", "libvulkan.so.1", "vk_swiftshader_icd.json"],
} as const;

/** Where SwiftShader is kept: in a checkout of saeflow itself, else in the user's cache. */
export function swiftShaderFolder(): string {
	const root = resolve(import.meta.dir, "../..");
	const cache = existsSync(join(root, ".git"))
		? join(root, ".software-vulkan")
		: cachePath("software-vulkan");
	return join(cache, `swiftshader-${SWIFTSHADER.version}`);
}

export function hasSwiftShader(): boolean {
	return SWIFTSHADER.files.every((file) => existsSync(join(swiftShaderFolder(), file)));
}

/** Makes GPU instances from now on use SwiftShader. Its folder brings a Vulkan loader too. */
export function useSwiftShader(): void {
	const folder = swiftShaderFolder();
	useDriver(join(folder, "vk_swiftshader_icd.json"));
	// Once loaded by its path, this loader answers Dawn's own dlopen("libvulkan.so.1"), whatever the system has.
	loadLoader(join(folder, "libvulkan.so.1"));
}

/** Makes GPU instances from now on use only the driver of this manifest. */
export function useDriver(manifest: string): void {
	const libc = dlopen("libc.so.6", { setenv: { args: ["cstring", "cstring", "i32"], returns: "i32" } });
	const text = (value: string) => Buffer.from(`${value}\0`);
	// Loaders before 1.3.207 know the second name only.
	for (const name of ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"])
		libc.symbols.setenv(text(name), text(manifest), 1);
	libc.close();
}

/** The manifest of the system's lavapipe. */
export function lavapipeManifest(): string | undefined {
	return driverManifests().find((path) => /\/lvp_icd[^/]*\.json$/.test(path));
}

/**
 * Whether it is worth asking the system's Vulkan loader: there is one, and some driver is installed. Dawn prints
 * warnings of its own where either is missing.
 */
export function hasSystemVulkan(): boolean {
	const chosenByUser = process.env.VK_DRIVER_FILES || process.env.VK_ICD_FILENAMES;
	return hasLoader() && (chosenByUser !== undefined || driverManifests().length > 0);
}

function hasLoader(): boolean {
	try {
		loadLoader("libvulkan.so.1").close();
		return true;
	} catch {
		return false;
	}
}

/** Loads a Vulkan loader; Bun wants to be told of one function in it. */
function loadLoader(path: string) {
	return dlopen(path, { vkCreateInstance: { args: ["ptr", "ptr", "ptr"], returns: "i32" } });
}

/** Manifests in the folders that the Vulkan loader searches (its LoaderDriverInterface.md), and NixOS's. */
function driverManifests(): string[] {
	const { env } = process;
	const list = (value: string | undefined, otherwise: string) => (value || otherwise).split(":");
	const folders = [
		env.XDG_CONFIG_HOME || join(homedir(), ".config"),
		...list(env.XDG_CONFIG_DIRS, "/etc/xdg"),
		"/etc",
		env.XDG_DATA_HOME || join(homedir(), ".local/share"),
		...list(env.XDG_DATA_DIRS, "/usr/local/share:/usr/share"),
		"/run/opengl-driver/share",
	].map((folder) => join(folder, "vulkan/icd.d"));
	return folders.flatMap((folder) =>
		existsSync(folder)
			? readdirSync(folder)
					.filter((file) => file.endsWith(".json"))
					.map((file) => join(folder, file))
			: [],
	);
}

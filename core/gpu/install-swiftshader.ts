/** Fetches SwiftShader out of an npm package: 67 MB are downloaded, the 7 MB that are needed are kept. */
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { brotliDecompressSync } from "node:zlib";
import { EXIT, SaeError } from "../errors.ts";
import { hasSwiftShader, SWIFTSHADER, swiftShaderFolder } from "./software-vulkan.ts";

/**
 * Puts SwiftShader where {@link swiftShaderFolder} says, whole or not at all, and returns that folder.
 * @throws SaeError where the platform has none, the registry can't be reached or the archive is not the known one.
 */
export async function installSwiftShader(): Promise<string> {
	const folder = swiftShaderFolder();
	if (hasSwiftShader()) return folder;
	if (process.platform !== "linux" || process.arch !== "x64") {
		throw new SaeError(
			`the software driver exists for linux x64 only, not for ${process.platform} ${process.arch}`,
			EXIT.device,
		);
	}
	const download = await mkdtemp(join(tmpdir(), "saeflow-swiftshader-"));
	const staging = `${folder}.${process.pid}.tmp`;
	try {
		const archive = await downloadArchive(download);
		await mkdir(staging, { recursive: true });
		await unpack(archive, staging);
		await moveInto(folder, staging);
	} finally {
		await rm(download, { recursive: true, force: true });
		await rm(staging, { recursive: true, force: true });
	}
	return folder;
}

/** The compressed archive's bytes, checked. Bun itself is the package manager, so that npm need not exist. */
async function downloadArchive(folder: string): Promise<Uint8Array> {
	await Bun.write(join(folder, "package.json"), "{}");
	const { package: name, version, archive: path, sha256 } = SWIFTSHADER;
	const add = Bun.spawn({
		cmd: [
			...[process.execPath, "add", "--cwd", folder, "--cache-dir", join(folder, "cache")],
			...["--ignore-scripts", "--no-save", "--silent", `${name}@${version}`],
		],
		// A compiled `sae` acts as Bun when asked to.
		env: { ...process.env, BUN_BE_BUN: "1" },
		stdin: "ignore",
		stdout: "ignore",
		stderr: "pipe",
	});
	const complaint = (await new Response(add.stderr).text()).trim();
	if ((await add.exited) !== 0) {
		const reason = complaint.split("\n").find((line) => line.includes("error")) ?? complaint;
		throw new SaeError(`could not download ${name} from the npm registry: ${reason}`, EXIT.device);
	}
	const bytes = await Bun.file(join(folder, "node_modules", name, path)).bytes();
	const digest = new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
	if (digest !== sha256) {
		throw new SaeError(`${name}@${version}: ${path} has the SHA-256 ${digest}, not ${sha256}`, EXIT.device);
	}
	return bytes;
}

async function unpack(archive: Uint8Array, folder: string): Promise<void> {
	const entries = await new Bun.Archive(brotliDecompressSync(archive)).files();
	for (const name of SWIFTSHADER.files) {
		await Bun.write(join(folder, name), entries.get(name)!);
		await chmod(join(folder, name), 0o755);
	}
}

async function moveInto(folder: string, staging: string): Promise<void> {
	await mkdir(dirname(folder), { recursive: true });
	try {
		await rename(staging, folder);
	} catch (error) {
		// Another process was faster: what it put there is the same.
		if (!existsSync(folder) || !hasSwiftShader()) throw error;
	}
}

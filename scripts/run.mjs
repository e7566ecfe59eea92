/**
 * Sets up what a fresh machine lacks, then runs the tests or a script:
 *
 *     node scripts/run.mjs test [bun test's arguments]
 *     node scripts/run.mjs demo/demo.ts [arguments]
 *
 * Plain JavaScript without dependencies, since Node with npm (or Bun alone) is all that may be there at first.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/** Longest time of one test, in milliseconds; Bun ignores a timeout in bunfig.toml. */
const TEST_TIMEOUT = 400_000;

const [task, ...rest] = process.argv.slice(2);
if (task === undefined) stop("usage: node scripts/run.mjs test | FILE [arguments]");

process.chdir(ROOT);
installPackages();
ensureProvider();
const bun = findBun();
ensureVulkan(bun);
process.exit(task === "test" ? await test(rest) : run(bun, [task, ...rest]));

function say(text) {
	process.stderr.write(`setup: ${text}\n`);
}

/** @returns {never} */
function stop(text) {
	say(text);
	process.exit(1);
}

/** Runs a program with our stdin, stdout and stderr, and returns its exit code. */
function run(program, args) {
	const { status, error } = spawnSync(program, args, { stdio: "inherit" });
	if (error) stop(`${program}: ${error.message}`);
	return status ?? 1;
}

/** Installs what package-lock.json lists, unless it is all there, whoever installed it. */
function installPackages() {
	const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8"));
	const missing = Object.entries(packages).filter(
		([path, { version, optional }]) => path !== "" && !optional && installedVersion(path) !== version,
	);
	if (missing.length === 0) return;
	say(`installing ${missing.length} packages`);
	install("--include=dev");
}

/** Runs `npm install`, or Bun's where there is no npm. Nothing that the project lists changes. */
function install(...what) {
	const quiet = { stdio: ["ignore", "ignore", "inherit"] };
	const npm = spawnSync(
		"npm",
		["install", ...what, "--no-save", "--no-audit", "--no-fund", "--loglevel=error"],
		// On Windows npm is a script, which only a shell runs.
		{ ...quiet, shell: process.platform === "win32" },
	);
	if (npm.status === 0) return;
	const packages = what.filter((word) => !word.startsWith("-"));
	const self = process.versions.bun
		? spawnSync(process.execPath, ["install", ...packages, "--no-save"], quiet)
		: undefined;
	if (self?.status !== 0) stop("the packages could not be installed; is the npm registry reachable?");
}

/** Not every platform has a build of bun-webgpu; webgpu brings one for each in one package. */
function ensureProvider() {
	const platform = `${process.platform}-${process.arch}`;
	const packages = [`bun-webgpu-${platform}`, "webgpu"].map((name) => join("node_modules", name));
	if (packages.some((path) => existsSync(path))) return;
	const { peerDependencies } = JSON.parse(readFileSync("package.json", "utf8"));
	say(`bun-webgpu has no build for ${platform}: installing webgpu instead (132 MB)`);
	// npm leaves out an optional peer even when it is named, unless it is named as something else. Its oldest version
	// that will do is the one that was tried.
	install("--save-dev", `webgpu@${peerDependencies.webgpu.replace(/^\D+/, "")}`);
}

function installedVersion(path) {
	try {
		return JSON.parse(readFileSync(join(path, "package.json"), "utf8")).version;
	} catch {
		return undefined;
	}
}

/** The Bun that package-lock.json names. npm may have been told not to run its install script; then we do. */
function findBun() {
	const works = (path) => existsSync(path) && spawnSync(path, ["--version"]).status === 0;
	const installed = join(ROOT, "node_modules/bun/bin/bun.exe");
	if (works(installed)) return installed;
	spawnSync(process.execPath, ["install.js"], { cwd: "node_modules/bun", stdio: "ignore" });
	const found = [installed, ...bunBuilds()].find(works);
	return found ?? stop(`npm brought no Bun that runs on ${process.platform} ${process.arch}`);
}

/** The packages that carry Bun itself, one for each kind of processor. */
function bunBuilds() {
	const scope = join(ROOT, "node_modules/@oven");
	const builds = existsSync(scope) ? readdirSync(scope).map((build) => join(scope, build, "bin", "bun")) : [];
	return builds.flatMap((path) => [path, `${path}.exe`]);
}

/** Gets a software driver where no Vulkan driver works. */
function ensureVulkan(bun) {
	if (doctor(bun, "ignore").status === 0) return;
	say("no Vulkan driver works here: getting SwiftShader, which runs on the CPU, from npm (67 MB, 7 MB kept)");
	if (doctor(bun, "inherit", "--install-software-vulkan").status === 0) return;
	say("no device can compute: `node_modules/.bin/bun cli/main.ts doctor` says what to do");
}

function doctor(bun, stderr, ...args) {
	return spawnSync(bun, ["cli/main.ts", "doctor", ...args], { stdio: ["ignore", "ignore", stderr] });
}

/** Type checks, lint and tests. The last line counts them all, each check as one test. */
async function test(args) {
	const checks = {
		"type check": ["node_modules/typescript/bin/tsc", "--noEmit"],
		"type check of the page": [
			"node_modules/typescript/bin/tsc",
			"--noEmit",
			"-p",
			"cli/reports/features/app",
		],
		lint: ["node_modules/@biomejs/biome/bin/biome", "check"],
	};
	const total = { passed: 0, failed: 0, skipped: 0 };
	// Arguments choose among the tests; then the checks are not asked for.
	for (const [name, command] of args.length === 0 ? Object.entries(checks) : []) {
		const ok = run(bun, command) === 0;
		process.stderr.write(`${name} ${ok ? "passed" : "FAILED"}\n`);
		if (ok) total.passed++;
		else total.failed++;
	}
	const { status, summary } = await bunTest(args);
	const count = (word) => Number(new RegExp(`^ *(\\d+) ${word}$`, "m").exec(summary)?.[1] ?? 0);
	total.passed += count("pass");
	total.failed += count("fail");
	total.skipped += count("skip") + count("todo");
	// Bun also fails for what is no test's failure, e.g. an error between tests, or no tests at all.
	if (status !== 0 && count("fail") === 0) total.failed++;
	const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : "";
	process.stdout.write(`${total.passed} passed, ${total.failed} failed${skipped}\n`);
	return total.failed === 0 ? 0 : 1;
}

/** Runs `bun test`, passing its report on as it comes, and returns the end of it, where the summary is. */
function bunTest(args) {
	return new Promise((resolve) => {
		const command = ["test", "--timeout", String(TEST_TIMEOUT), ...args];
		const child = spawn(bun, command, { stdio: ["ignore", "inherit", "pipe"] });
		let summary = "";
		child.stderr.setEncoding("utf8").on("data", (text) => {
			process.stderr.write(text);
			summary = (summary + text).slice(-2000);
		});
		child.on("close", (status) => resolve({ status: status ?? 1, summary }));
	});
}

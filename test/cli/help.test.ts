/** Help goes to stdout, opens no GPU, and says what there is. */
import { expect, test } from "bun:test";
import { VERBS } from "../../cli/verbs.ts";
import { sae } from "./sae.ts";

/** With this, whatever opens a GPU fails. */
const NO_GPU = { SAE_VULKAN: "none of them" };

test("sae --help lists every verb", async () => {
	const { stdout, stderr, exitCode } = await sae(["--help"], NO_GPU);
	for (const [name, { summary }] of Object.entries(VERBS))
		expect(stdout).toMatch(`  ${name}`.padEnd(15) + summary);
	expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
});

test("no words at all are a usage error that shows the help on stderr", async () => {
	const { stdout, stderr, exitCode } = await sae([]);
	expect({ stdout, exitCode }).toEqual({ stdout: "", exitCode: 2 });
	expect(stderr).toContain("Usage: sae COMMAND");
});

test("--version prints the package's version", async () => {
	const { version } = await Bun.file(`${import.meta.dir}/../../package.json`).json();
	expect((await sae(["--version"])).stdout).toBe(`${version}\n`);
});

test.each(Object.keys(VERBS))(
	"sae %s --help has a purpose, a usage, an example and its options",
	async (verb) => {
		const { stdout, stderr, exitCode } = await sae([verb, "--help"], NO_GPU);
		expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
		expect(stdout).toStartWith(`sae ${verb}: `);
		expect(stdout).toContain(`\nUsage: sae ${verb}`);
		expect(stdout).toMatch(/\nExamples?:\n {2}/);
		expect(stdout).toContain("\n  --config FILE");
	},
);

test("a verb's help lists its plugins, and a plugin's help its options with their defaults", async () => {
	const verb = await sae(["activations", "--help"]);
	expect(verb.stdout).toMatch(/\n {2}file +rows of /);
	const plugin = await sae(["activations", "synthetic", "--help"]);
	expect(plugin.stdout).toMatch(/\n {2}--d-in N +Dimensions of an activation \(default 64\)\n/);
	expect(plugin.stdout).toMatch(/Options of the source synthetic:[\s\S]*Options of sae activations:/);
});

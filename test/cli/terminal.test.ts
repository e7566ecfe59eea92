/** What differs when a person sits at a terminal, which `script` plays (in bash: other shells drop its functions). */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { shell } from "./sae.ts";

const SAE = join(import.meta.dir, "../fixtures/saelens-topk");
const onTerminal = (command: string) =>
	shell(
		`export -f sae; SHELL=$BASH script -qec "bash -c '${command}'" /dev/null | tr -d '\\r'; exit \${PIPESTATUS[0]}`,
	);

test("a stream of vectors is shown by its first rows", async () => {
	const { stdout, exitCode } = await onTerminal("sae activations synthetic --rows 1000000000 --d-in 64");
	expect(stdout).toMatch(/^activation\n(-?\d.* … \(64\)\n){20}.* the first 20 rows/);
	expect(exitCode).toBe(0);
});

test("a stream that nobody pipes in is a usage error", async () => {
	const { stdout, exitCode } = await onTerminal(`sae encode ${SAE}`);
	expect(stdout).toBe("sae: stdin is a terminal: pipe a stream of activations in, or name an Arrow file\n");
	expect(exitCode).toBe(2);
});

test("a stream of the wrong kind is refused", async () => {
	const { stderr, exitCode } = await shell(
		`set -o pipefail; sae activations synthetic --rows 2 | sae decode ${SAE}`,
	);
	expect(stderr).toContain("sae: stdin: is a stream of activations, but latents are needed\n");
	expect(exitCode).toBe(3);
});

import { expect, test } from "bun:test";
import { complete } from "../../cli/complete.ts";
import { VERBS } from "../../cli/verbs.ts";
import { sae } from "./sae.ts";

const words = async (...typed: string[]) => (await complete(typed)).map(({ word }) => word);

test("candidates come from the verbs, the registry and the schemas", async () => {
	expect(await words("")).toEqual([...Object.keys(VERBS), "--help", "--version"]);
	expect(await words("act")).toEqual(["activations"]);
	expect(await words("activations", "syn")).toEqual(["synthetic"]);
	expect(await words("activations", "synthetic", "--d-")).toEqual(["--d-in"]);
	expect(await words("activations", "synthetic", "--d-in", "4", "--d-")).toEqual([]);
	expect(await words("activations", "synthetic", "--format", "")).toEqual([
		"arrow",
		"parquet",
		"json",
		"csv",
		"table",
	]);
	expect(await words("activations", "synthetic", "--format", "=", "c")).toEqual(["csv"]);
	expect(await words("activations", "synthetic", "--rows", "")).toEqual([]);
	expect(await words("completion", "")).toEqual(["bash", "zsh", "fish"]);
	expect(await words("nonsense", "")).toEqual([]);
});

test("the shell is asked for files where a file is wanted", async () => {
	expect(await words("activations", "file", "")).toEqual([":files"]);
	expect(await words("activations", "file", "--out", "x")).toEqual([":files"]);
});

test("bash's script completes with what sae answers", async () => {
	const { stdout: script } = await sae(["completion", "bash"]);
	const answer = await sae(["complete", "activations", ""]);
	const child = Bun.spawnSync({
		cmd: [
			"bash",
			"-c",
			`${script}\nsae() { cat <<< "$ANSWER"; }\nCOMP_WORDS=(sae activations "") COMP_CWORD=2\n_sae\necho "\${COMPREPLY[@]}"`,
		],
		env: { ...process.env, ANSWER: answer.stdout.trimEnd() },
	});
	expect(child.stdout.toString()).toBe("file synthetic transformer\n");
});

test.each(["zsh", "fish"])("%s's script asks sae", async (shell) => {
	expect((await sae(["completion", shell])).stdout).toContain("sae complete ");
});

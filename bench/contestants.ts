/** Our own steps that a comparison runs, each in a process of its own, and the PyTorch ones beside them. */
import { EXIT } from "../core/errors.ts";

export interface Contestant {
	readonly name: string;
	readonly command: readonly string[];
	readonly env: Readonly<Record<string, string>>;
}

const PROVIDERS = [
	{ name: "f32", env: { SAE_GPU: "bun-webgpu" } },
	{ name: "tensor cores", env: { SAE_GPU: "webgpu", SAE_GPU_CHECKS: "on" } },
	{ name: "tensor cores, bounds unchecked", env: { SAE_GPU: "webgpu", SAE_GPU_CHECKS: "off" } },
];

/** One for every provider that there is; only the one that SAE_GPU names, where it names one. */
export function ours(command: readonly string[]): Contestant[] {
	const { SAE_GPU } = process.env;
	const named = (name: string, env: Record<string, string>) => ({ name: `saeflow ${name}`, command, env });
	if (SAE_GPU) return [named(SAE_GPU, {})];
	return PROVIDERS.map(({ name, env }) => named(name, env));
}

/** Whether python3 has PyTorch; says so on stderr where it has not. */
export function hasTorch(): boolean {
	const found = Bun.which("python3") && Bun.spawnSync(["python3", "-c", "import torch"]).exitCode === 0;
	if (!found) console.error("python3 with PyTorch is not here: only our own steps run");
	return Boolean(found);
}

/**
 * The objects that a program prints as lines of JSON, as they come. Nothing where it finds no device of its kind, which
 * is said on stderr.
 */
export async function* linesOf<Line>({ name, command, env }: Contestant): AsyncGenerator<Line> {
	const child = Bun.spawn([...command], {
		env: { ...process.env, ...env },
		stdout: "pipe",
		stderr: "inherit",
	});
	let rest = "";
	for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
		const lines = (rest + text).split("\n");
		rest = lines.pop()!;
		for (const line of lines) if (line.startsWith("{")) yield JSON.parse(line) as Line;
	}
	const code = await child.exited;
	if (code === EXIT.device) console.error(`left out: ${name}`);
	else if (code !== 0) throw new Error(`${name} ended with ${code}`);
}

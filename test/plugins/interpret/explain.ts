/** Runs an interpreter over features, as `sae interpret` does, without a command line. */
import { core } from "../../../core/api.ts";
import type { Feature } from "../../../core/arrow/features.ts";
import type { Interpretation, LatentToExplain } from "../../../core/interpret/interpreter.ts";
import { PassagePool } from "../../../core/interpret/pool.ts";
import type { Context, InterpreterContribution, Plugin } from "../../../core/plugin.ts";

export interface Explained {
	/** Undefined where the interpreter asked for nothing. */
	readonly said: readonly Interpretation[] | undefined;
	readonly log: readonly string[];
}

export async function explain(
	plugin: Plugin,
	features: readonly Feature[],
	options: Readonly<Record<string, unknown>>,
	given: (feature: Feature) => Pick<LatentToExplain, "explanation" | "source"> = () => ({
		explanation: null,
		source: null,
	}),
): Promise<Explained> {
	const contribution = plugin.contributes(core)[0] as InterpreterContribution;
	const log: string[] = [];
	const say = (text: string) => void log.push(text);
	const context = {
		log: { info: say, warn: say, progress: say, debug: say },
		signal: new AbortController().signal,
	} as unknown as Context;
	const pool = new PassagePool();
	for (const feature of features) pool.add(feature);
	const all = features.map((feature) => ({ feature, ...given(feature) }));
	async function* latents() {
		yield* all;
	}
	const input = { schema: core.featuresSchema(), pool, latents };
	const interpreter = await contribution.open(input, contribution.options.parse(options), context);
	try {
		const said = interpreter && (await Promise.all(all.map((latent) => interpreter.interpret(latent))));
		return { said, log };
	} finally {
		await interpreter?.close?.();
	}
}

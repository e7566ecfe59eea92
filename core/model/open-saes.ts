/** From paths of SAEs to SAEs on the device, each with its place in a model. */
import { usageError } from "../errors.ts";
import type { Context } from "../plugin.ts";
import type { SaeModel } from "../sae.ts";
import type { ModelSpec } from "./spec.ts";
import { checkApart, type PlacedSae, placeSae } from "./splice.ts";

export interface OpenedSae extends PlacedSae {
	readonly path: string;
	readonly model: SaeModel;
}

/**
 * Opens SAEs that are to take part in a pass: all in one, which is checked, unless `apart` says that each has its own.
 *
 * @param hookPoints one for each or one for all, as `placeSae` takes them; by default those that they were trained on.
 * @throws a usage error or SaeError for what does not fit, before anything is opened.
 */
export async function openSaesIn(
	spec: ModelSpec,
	paths: readonly string[],
	hookPoints: readonly string[] | undefined,
	context: Pick<Context, "loadSae" | "openSae">,
	apart = false,
): Promise<OpenedSae[]> {
	const given = hookPoints?.length === 1 ? paths.map(() => hookPoints[0]!) : hookPoints;
	if (given && given.length !== paths.length) {
		throw usageError(
			`--hook-point: there are ${paths.length} SAEs and ${given.length} hook points; give one for each, or one for all`,
		);
	}
	const models = await Promise.all(paths.map((path) => context.loadSae(path)));
	const places = models.map((model, i) => placeSae(spec, model, given?.[i]));
	if (!apart) checkApart(places);
	const opened: OpenedSae[] = [];
	for (const [i, model] of models.entries()) {
		opened.push({ ...places[i]!, path: paths[i]!, model, runtime: await context.openSae(model) });
	}
	return opened;
}

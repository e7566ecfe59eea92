/** Formulas of an architecture inside kernels: WGSL expressions with the values that they name. */
import { packed } from "./wgsl.ts";

/** What formulas may name besides z and f. */
export interface Names {
	/** Arrays [d_sae], in the order of the rows of the buffer that holds them. `norm` is among them unless it is 1. */
	readonly vectors: readonly string[];
	/** Numbers of the step, in the order of its uniform. */
	readonly scalars: readonly string[];
}

/** Whether any of the formulas names this value. */
export function mentions(formulas: readonly (string | undefined)[], name: string): boolean {
	const word = new RegExp(`(?<![\\w.])${name}(?!\\w)`);
	return formulas.some((formula) => formula !== undefined && word.test(formula));
}

/**
 * Declares what these formulas name: vectors from `vectors` [count, stride] at `latent`, scalars from `step`.
 * `stride` is an expression.
 */
export function declareNames(
	{ vectors, scalars }: Names,
	formulas: readonly (string | undefined)[],
	stride: string,
): string {
	const lines = vectors.flatMap((name, row) =>
		mentions(formulas, name) ? [`let ${name} = vectors[${row}u * ${stride} + latent];`] : [],
	);
	for (const [i, name] of scalars.entries()) {
		if (mentions(formulas, name)) lines.push(`let ${name} = ${packed("step.scalars", i)};`);
	}
	if (!vectors.includes("norm") && mentions(formulas, "norm")) lines.push("let norm = 1.0;");
	return lines.join("\n\t\t");
}

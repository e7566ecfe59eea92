/**
 * The derivatives that architectures state, against differences of the formulas they belong to. Of a threshold, whose
 * derivative is an estimate, the integrals over z are compared: straight through, a window stands for a step.
 */
import { describe, expect, test } from "bun:test";
import { core } from "../../core/api.ts";
import { type LossTerm, RELU, type TrainingSpec } from "../../core/architecture.ts";
import type { ArchitectureContribution, Plugin } from "../../core/plugin.ts";
import { scheduled } from "../../core/schedule.ts";
import gated from "../../plugins/gated.ts";
import jumprelu from "../../plugins/jumprelu.ts";
import pAnneal from "../../plugins/p-anneal.ts";
import relu from "../../plugins/relu.ts";
import { numberOf, type Scope, truthOf } from "../reference/formula.ts";
import { randomStream } from "../reference/models.ts";

const SIZES = { d_in: 16, d_out: 16, d_sae: 64 };
const STEP = 1e-6;

function specOf(plugin: Plugin, options: Readonly<Record<string, unknown>> = {}): TrainingSpec {
	const [contribution] = plugin.contributes(core) as [ArchitectureContribution];
	return contribution.training(contribution.options.parse(options), SIZES);
}

const SPECS: Readonly<Record<string, TrainingSpec>> = {
	"relu, decoder norms": specOf(relu),
	"relu, L1": specOf(relu, { penalty: "l1" }),
	"p-anneal": specOf(pAnneal),
	gated: specOf(gated),
	"jumprelu of GDM": specOf(jumprelu),
	"jumprelu, quadratic": specOf(jumprelu, { penalty: "quadratic", penalty_l0: 5 }),
	"jumprelu of Anthropic": specOf(jumprelu, { recipe: "anthropic" }),
};
const TERMS = Object.entries(SPECS).flatMap(([name, spec]) =>
	spec.loss.map((term): [string, LossTerm, TrainingSpec] => [`${name}: ${term.name}`, term, spec]),
);

/** Values of what formulas name, where the latent has a code that is not 0. */
function scopes(
	spec: TrainingSpec,
	{ activation = RELU }: LossTerm,
	count: number,
): Record<string, number>[] {
	const random = randomStream(6);
	const [keep, value] = [truthOf(activation.keep), numberOf(activation.value)];
	const scalars = Object.entries(spec.scalars ?? {}).map(([name, schedule]) => [
		name,
		scheduled(schedule, 0.5),
	]);
	const found: Record<string, number>[] = [];
	while (found.length < count) {
		const scope = {
			...Object.fromEntries(scalars),
			z: 2 * random() - 0.5,
			norm: 0.5 + random(),
			b_enc: random() - 0.5,
			r_mag: random() - 0.5,
			b_mag: random() - 0.5,
			log_threshold: Math.log(0.05 + 0.5 * random()),
		};
		if (!keep(scope) || value(scope) === 0) continue;
		found.push({ ...scope, f: value(scope) });
	}
	return found;
}

/** That `derivative` is the one of `value` by what the scope calls `by`. */
function expectDerivative(value: string, derivative: string, by: string, scope: Scope): void {
	const at = (change: number) => numberOf(value)({ ...scope, [by]: scope[by]! + change });
	const difference = (at(STEP) - at(-STEP)) / (2 * STEP);
	expect(Math.abs(difference - numberOf(derivative)(scope))).toBeLessThan(1e-6 * (1 + Math.abs(difference)));
}

describe.each(TERMS)("%s", (_, term, spec) => {
	const { activation = RELU, penalty } = term;
	const cases = scopes(spec, term, 50);

	test("codes by z and by the latent's parameters", () => {
		for (const scope of cases) {
			expectDerivative(activation.value, activation.dz, "z", scope);
			for (const [name, formula] of Object.entries(activation.d ?? {}))
				if (name !== "log_threshold") expectDerivative(activation.value, formula, name, scope);
		}
	});

	if (penalty) {
		test("the penalty by codes and by decoder norms", () => {
			for (const scope of cases) {
				expectDerivative(penalty.value, penalty.df ?? "0.0", "f", scope);
				expectDerivative(penalty.value, penalty.dnorm ?? "0.0", "norm", scope);
			}
		});
	}
});

describe.each(TERMS.filter(([name]) => name.startsWith("jumprelu")))("%s: thresholds", (_, term, spec) => {
	const [scope] = scopes(spec, term, 1);
	/** Σ over z of a formula's values, times the distance of z. */
	const integral = (formula: string, log_threshold: number) => {
		const apart = 5e-5;
		let sum = 0;
		for (let z = -0.6; z < 1.5; z += apart) sum += numberOf(formula)({ ...scope!, z, log_threshold }) * apart;
		return sum;
	};
	const pairs = [
		[term.activation!.value, term.activation!.d!.log_threshold!],
		...(term.penalty!.d ? [[term.penalty!.value, term.penalty!.d.log_threshold!]] : []),
	] as [string, string][];

	test("whatever has a code or a derivative is kept", () => {
		for (let z = -1; z < 1.5; z += 0.003) {
			const at = { ...scope!, z };
			if (truthOf(term.activation!.keep)(at)) continue;
			for (const formulas of pairs)
				for (const formula of formulas) expect(numberOf(formula)(at)).toBeCloseTo(0, 12);
		}
	});

	test.each(pairs)("of %s", (value, derivative) => {
		const t = scope!.log_threshold!;
		const difference = (integral(value, t + 0.05) - integral(value, t - 0.05)) / 0.1;
		expect(difference).toBeLessThan(-0.001);
		// So many points in z are good to about 1 %.
		expect(Math.abs(integral(derivative, t) / difference - 1)).toBeLessThan(0.02);
	});
});

test("the quadratic penalty's slope is that of its value", () => {
	const { penalty } = SPECS["jumprelu, quadratic"]!.loss[0];
	for (const s of [0.5, 5, 12])
		expectDerivative(penalty!.batch!.value, penalty!.batch!.slope, "s", { s, penalty_l0: 5 });
});

test("p-annealing keeps the penalty's size when p falls", () => {
	const { penalty } = SPECS["p-anneal"]!.loss[0];
	const codes = [0.02, 0.3, 0.7, 1.1];
	const sumOf = (formula: string, p: number) =>
		codes.reduce((sum, f) => sum + numberOf(formula)({ f, p }), 0);
	/** Σ f · ∂penalty/∂f, which for any p is p times the size that L1 has. */
	const pull = (p: number) => {
		const slope = numberOf(penalty!.batch!.slope)({
			s: sumOf(penalty!.value, p),
			h: sumOf(penalty!.batch!.beside!, p),
		});
		return codes.reduce((sum, f) => sum + (f + 0.001) * slope * numberOf(penalty!.df!)({ f, p }), 0);
	};
	expect(pull(1)).toBeCloseTo(2.124, 12);
	for (const p of [0.7, 0.2]) expect(pull(p)).toBeCloseTo(p * 2.124, 12);
});

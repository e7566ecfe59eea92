/** Losses of the reference against those that the papers write, computed densely over all latents. */
import { describe, expect, test } from "bun:test";
import { caseOf, FAMILIES } from "./cases.ts";
import { preActivations } from "./encoder.ts";
import { forward } from "./loss.ts";

/** A case as matrices: rows of z, and what rows of codes give. */
function dense(name: string) {
	const given = caseOf(FAMILIES[name]!);
	const { spec, state, batch, conditions, selection, sizes } = given;
	const { W_dec, b_dec } = state.parameters;
	const { d_out, d_sae } = sizes;
	const { x, y = x } = batch;
	const all = preActivations(spec, state.parameters, x);
	const rows = y.length / d_out;
	const z = Array.from({ length: rows }, (_, row) =>
		Array.from(all.subarray(row * d_sae, (row + 1) * d_sae)),
	);
	const map = (f: (z: number, latent: number) => number) => z.map((values) => values.map(f));
	/** The codes that a term keeps. */
	const keptBy = (term: number) =>
		z.map((values, row) => values.map((value, i) => (selection[term]![row]!.includes(i) ? value : 0)));
	/** ‖y − x̂‖² by row, for the reconstruction of these codes. */
	const errorsOf = (codes: number[][], bias = 1, wanted: ArrayLike<number> = y) =>
		codes.map((f, row) => {
			let sum = 0;
			for (let i = 0; i < d_out; i++) {
				const out = f.reduce(
					(total, code, latent) => total + code * W_dec[latent * d_out + i]!,
					bias * b_dec[i]!,
				);
				sum += (wanted[row * d_out + i]! - out) ** 2;
			}
			return sum;
		});
	const norms = Array.from({ length: d_sae }, (_, latent) =>
		Math.hypot(...W_dec.subarray(latent * d_out, (latent + 1) * d_out)),
	);
	const pass = forward(spec, state, batch, conditions, selection);
	return {
		...given,
		own: state.parameters,
		y,
		z,
		map,
		keptBy,
		errorsOf,
		norms,
		pass,
	};
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const sum = (values: readonly number[]) => mean(values) * values.length;
const meanSum = (codes: readonly number[][]) => mean(codes.map(sum));
const relu = (z: number) => Math.max(0, z);

describe("the loss of", () => {
	test("multi-topk with auxk is the mean of squared errors and a share of the residual's variance", () => {
		const {
			keptBy,
			errorsOf,
			y,
			pass,
			own: { W_dec, b_dec },
			sizes,
		} = dense("multi_topk_auxk");
		const codes = keptBy(0);
		const residual = Float64Array.from(y, (value, at) => {
			const [row, i] = [Math.floor(at / sizes.d_out), at % sizes.d_out];
			return codes[row]!.reduce(
				(left, f, latent) => left - f * W_dec[latent * sizes.d_out + i]!,
				value - b_dec[i]!,
			);
		});
		let spread = 0;
		for (let i = 0; i < sizes.d_out; i++) {
			const column = Array.from(residual).filter((_, at) => at % sizes.d_out === i);
			spread += sum(column.map((value) => (value - mean(column)) ** 2));
		}
		const aux = sum(errorsOf(keptBy(2), 0, residual)) / spread;
		const expected = mean(errorsOf(codes)) + 0.25 * mean(errorsOf(keptBy(1))) + 0.5 * aux;
		expect(pass.loss).toBeCloseTo(expected, 12);
	});

	test("ReLU with L1 weighs codes by decoder norms", () => {
		const { map, errorsOf, norms, pass } = dense("relu_l1");
		const penalty = 0.2 * meanSum(map((z, i) => relu(z) * norms[i]!));
		expect(pass.loss).toBeCloseTo(mean(errorsOf(map(relu))) + penalty, 12);
		expect(pass.terms[0]!.penalty).toBeCloseTo(penalty, 12);
	});

	test("a crosscoder adds up the norms of its sources", () => {
		const { map, errorsOf, sizes, own, pass } = dense("crosscoder");
		const half = sizes.d_out / 2;
		const block = (at: number) => Math.hypot(...own.W_dec.subarray(at * half, (at + 1) * half));
		const penalty = 0.3 * meanSum(map((z, i) => relu(z) * (block(2 * i) + block(2 * i + 1))));
		expect(pass.loss).toBeCloseTo(mean(errorsOf(map(relu))) + penalty, 12);
	});

	test("p-annealing has the strength of L1", () => {
		const { map, pass } = dense("lp_held");
		const expected = 0.3 * meanSum(map((z) => (z > 0 ? z + 0.1 : 0)));
		expect(pass.terms[0]!.penalty).toBeCloseTo(expected, 12);
	});

	test("a gated SAE is that of its magnitudes, of its gate, and L1 of the gate", () => {
		const { map, errorsOf, own, pass } = dense("gated");
		const magnitudes = map((z, i) =>
			z > 0 ? relu(Math.exp(own.r_mag![i]!) * (z - own.b_enc[i]!) + own.b_mag![i]!) : 0,
		);
		const gate = map(relu);
		const expected = mean(errorsOf(magnitudes)) + mean(errorsOf(gate)) + 0.3 * meanSum(gate);
		expect(pass.loss).toBeCloseTo(expected, 12);
	});

	test("JumpReLU counts codes over their thresholds", () => {
		const { map, errorsOf, own, pass } = dense("jumprelu");
		const over = (z: number, i: number) => (z > Math.exp(own.log_threshold![i]!) ? 1 : 0);
		const codes = map((z, i) => z * over(z, i));
		expect(pass.loss).toBeCloseTo(mean(errorsOf(codes)) + 0.2 * meanSum(map(over)), 12);
		const target = dense("jumprelu_target");
		const penalty = 0.2 * (meanSum(target.map(over)) / 4 - 1) ** 2;
		expect(target.pass.terms[0]!.penalty).toBeCloseTo(penalty, 12);
	});

	test("Anthropic's JumpReLU has a tanh penalty, and draws dead latents up to their thresholds", () => {
		const { map, errorsOf, own, norms, state, pass } = dense("jumprelu_tanh_revival");
		const threshold = (i: number) => Math.exp(own.log_threshold![i]!);
		const codes = map((z, i) => (z > threshold(i) ? z : 0));
		const penalty = 0.2 * meanSum(codes.map((row) => row.map((f, i) => Math.tanh(2 * f * norms[i]!))));
		const below = map((z, i) => (state.dead.includes(i) ? relu(threshold(i) - z) * norms[i]! : 0));
		expect(pass.loss).toBeCloseTo(mean(errorsOf(codes)) + penalty + 0.1 * meanSum(below), 12);
	});

	test("Matryoshka adds up prefixes of latents, the empty one too", () => {
		const { keptBy, errorsOf, pass } = dense("matryoshka");
		const prefix = (size: number) => keptBy(0).map((row) => row.map((f, i) => (i < size ? f : 0)));
		const [none, few, more, all] = [0, 4, 8, 16].map((size) => mean(errorsOf(prefix(size)))) as number[];
		expect(pass.terms[0]!.loss).toBeCloseTo(0.2 * none! + 0.3 * few! + 0.1 * more! + 0.4 * all!, 12);
		expect(pass.terms[0]!.squared).toBeCloseTo(sum(errorsOf(keptBy(0))), 12);
	});

	test("MSAE adds up the largest codes of each row", () => {
		const { map, errorsOf, pass } = dense("msae");
		const [two, four, eight] = [2, 4, 8].map((count) => {
			const top = map(relu).map((row) => {
				const least = row.toSorted((a, b) => b - a)[count - 1]!;
				return row.map((f) => (f >= least ? f : 0));
			});
			return mean(errorsOf(top));
		});
		expect(pass.terms[0]!.loss).toBeCloseTo(0.5 * two! + 0.3 * four! + 0.2 * eight!, 12);
	});
});

test("tilt goes from the mean over rows to the worst row", () => {
	const { spec, state, batch, conditions, selection, map, errorsOf, norms } = dense("relu_l1");
	const sparsity = map((z, i) => relu(z) * norms[i]!).map(sum);
	const rows = errorsOf(map(relu)).map((error, row) => error + 0.2 * sparsity[row]!);
	const tilted = (tilt: number) => forward(spec, state, batch, { ...conditions, tilt }, selection).loss;
	expect(tilted(0)).toBeCloseTo(mean(rows), 12);
	expect(tilted(1e-8)).toBeCloseTo(mean(rows), 6);
	expect(tilted(0.5)).toBeCloseTo(2 * Math.log(mean(rows.map((loss) => Math.exp(0.5 * loss)))), 12);
	expect(tilted(1e6)).toBeCloseTo(Math.max(...rows), 4);
});

test("without dead latents, a term of theirs says nothing", () => {
	for (const name of ["multi_topk_auxk", "feature_topk"]) {
		const { spec, state, batch, conditions, selection } = caseOf(FAMILIES[name]!);
		const lost = selection.with(
			-1,
			selection[0]!.map(() => []),
		);
		const pass = forward(spec, { ...state, dead: [] }, batch, conditions, lost);
		expect(pass.terms.at(-1)).toMatchObject({ loss: 0 });
		expect(pass.loss).toBeCloseTo(sum(pass.terms.map(({ loss }) => loss)), 12);
	}
});

test("rows of equal codes are ranked by latent", () => {
	const { spec, state, batch, conditions, selection } = caseOf(FAMILIES.msae!);
	const { W_enc, b_enc } = state.parameters;
	W_enc.fill(0);
	b_enc.fill(1);
	const every = selection.map((term) => term.map(() => Array.from(b_enc.keys())));
	for (const row of forward(spec, state, batch, conditions, every).terms[0]!.codes)
		expect(row.map(({ rank }) => rank)).toEqual(Array.from(b_enc.keys()));
});

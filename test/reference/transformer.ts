/** The forward pass of every family in plain float64, written from the formulas and not from the kernels. */
import type { Layer, Linear, ModelSpec, Norm } from "../../core/model/spec.ts";

export type Tensors = Readonly<
	Record<string, { readonly shape: readonly number[]; readonly data: Float32Array }>
>;

/** A matrix as rows. */
type Rows = number[][];

/** The values of hook points, by name, of one sequence; and `logits`. `change` may put others in place of the rows of any. */
export function referencePass(
	spec: ModelSpec,
	tensors: Tensors,
	tokens: readonly number[],
	change: (name: string, rows: Rows) => Rows = (_, rows) => rows,
): Map<string, Rows> {
	const values = new Map<string, Rows>();
	const keep = (name: string, rows: Rows) => {
		values.set(
			name,
			rows.map((row) => [...row]),
		);
		return change(name, rows);
	};
	const tensor = (name: string) => tensors[name] ?? tensors[name.slice(spec.prefix.length)]!;
	const row = (name: string, i: number) => {
		const { shape, data } = tensor(name);
		return [...data.subarray(i * shape[1]!, (i + 1) * shape[1]!)];
	};
	const linear = (rows: Rows, map: Linear): Rows => {
		const { shape, data } = tensor(map.weight);
		const ranges = map.part?.ranges ?? [{ start: 0, count: map.d_out }];
		const outputs = ranges.flatMap(({ start, count }) => Array.from({ length: count }, (_, i) => start + i));
		const weight = (output: number, input: number) =>
			map.transposed ? data[input * shape[1]! + output]! : data[output * shape[1]! + input]!;
		return rows.map((x) =>
			outputs.map((output) => {
				let sum = map.bias ? tensor(map.bias).data[output]! : 0;
				for (const [input, value] of x.entries()) sum += value * weight(output, input);
				return sum;
			}),
		);
	};
	const norm = (rows: Rows, { weight, bias }: Norm): Rows => {
		const w = tensor(weight).data;
		return rows.map((x) => {
			const mean = spec.norm.kind === "layer" ? x.reduce((sum, v) => sum + v, 0) / x.length : 0;
			const variance = x.reduce((sum, v) => sum + (v - mean) ** 2, 0) / x.length;
			const scale = Math.sqrt(variance + spec.norm.eps);
			return x.map(
				(v, i) =>
					((v - mean) / scale) * (w[i]! + (spec.norm.plusOne ? 1 : 0)) + (bias ? tensor(bias).data[i]! : 0),
			);
		});
	};
	const plus = (a: Rows, b: Rows) => a.map((x, i) => x.map((v, j) => v + b[i]![j]!));

	const rotated = (rows: Rows, heads: number): Rows => {
		const { rope, d_head } = spec;
		if (!rope) return rows;
		return rows.map((x, position) => {
			const out = [...x];
			for (let head = 0; head < heads; head++) {
				for (let i = 0; i < rope.dims / 2; i++) {
					const angle = position * rope.frequencies[i]!;
					const [a, b] = [head * d_head + i, head * d_head + i + rope.dims / 2];
					out[a] = x[a]! * Math.cos(angle) - x[b]! * Math.sin(angle);
					out[b] = x[b]! * Math.cos(angle) + x[a]! * Math.sin(angle);
				}
			}
			return out;
		});
	};
	const attention = (q: Rows, k: Rows, v: Rows, { scale, window }: Layer): Rows =>
		q.map((query, i) =>
			Array.from({ length: spec.heads }, (_, head) => {
				const shared = Math.floor(head / (spec.heads / spec.kvHeads));
				const slice = (x: number[], h: number) => x.slice(h * spec.d_head, (h + 1) * spec.d_head);
				const first = window > 0 ? Math.max(0, i - window + 1) : 0;
				const scores = k.slice(first, i + 1).map((key) => {
					const mine = slice(query, head);
					const score = slice(key, shared).reduce((sum, value, d) => sum + value * mine[d]!, 0) * scale;
					return spec.scoreCap > 0 ? spec.scoreCap * Math.tanh(score / spec.scoreCap) : score;
				});
				const top = Math.max(...scores);
				const weights = scores.map((score) => Math.exp(score - top));
				const total = weights.reduce((sum, weight) => sum + weight, 0);
				return Array.from({ length: spec.d_head }, (_, d) =>
					weights.reduce((sum, w, j) => sum + (w / total) * slice(v[first + j]!, shared)[d]!, 0),
				);
			}).flat(),
		);

	let resid = keep(
		"hook_embed",
		tokens.map((token) => row(spec.embed.tokens, token).map((value) => value * spec.embed.scale)),
	);
	if (spec.embed.positions) {
		const positions = tokens.map((_, i) => row(spec.embed.positions!, i));
		resid = plus(resid, keep("hook_pos_embed", positions));
	}
	for (const [l, layer] of spec.layers.entries()) {
		const at = (name: string, rows: Rows) => keep(`blocks.${l}.${name}`, rows);
		resid = at("hook_resid_pre", resid);
		const x = at("ln1.out", norm(resid, layer.ln1));
		const q = at("attn.hook_rot_q", rotated(at("attn.hook_q", linear(x, layer.q)), spec.heads));
		const k = at("attn.hook_rot_k", rotated(at("attn.hook_k", linear(x, layer.k)), spec.kvHeads));
		const z = at("attn.hook_z", attention(q, k, at("attn.hook_v", linear(x, layer.v)), layer));
		const attended = at("attn.out", linear(z, layer.o));
		const added = at("hook_attn_out", layer.ln1Post ? norm(attended, layer.ln1Post) : attended);
		const sum = plus(resid, added);
		const middle = spec.parallel ? sum : at("hook_resid_mid", sum);
		const y = at("ln2.out", norm(spec.parallel ? resid : middle, layer.ln2));
		const pre = at("mlp.hook_pre", linear(y, layer.gate ?? layer.up));
		const up = layer.gate && at("mlp.hook_pre_linear", linear(y, layer.up));
		const post = pre.map((values, i) =>
			values.map((value, j) => activate(spec.activation, value) * (up ? up[i]![j]! : 1)),
		);
		const out = at("mlp.out", linear(at("mlp.hook_post", post), layer.down));
		const mlp = at("hook_mlp_out", layer.ln2Post ? norm(out, layer.ln2Post) : out);
		resid = at("hook_resid_post", plus(middle, mlp));
	}
	const final = keep("ln_final.out", norm(resid, spec.finalNorm));
	const cap = spec.logitCap;
	const logits = linear(final, spec.unembed);
	keep("logits", cap > 0 ? logits.map((values) => values.map((v) => cap * Math.tanh(v / cap))) : logits);
	return values;
}

function activate(name: ModelSpec["activation"], x: number): number {
	switch (name) {
		case "gelu":
			return 0.5 * x * (1 + erf(x / Math.SQRT2));
		case "gelu_tanh":
			return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
		case "gelu_quick":
			return x / (1 + Math.exp(-1.702 * x));
		case "silu":
			return x / (1 + Math.exp(-x));
		case "relu":
			return Math.max(0, x);
	}
}

/** The error function by its series, exact to about 1e-15 where it is used. */
export function erf(x: number): number {
	if (Math.abs(x) > 5) return Math.sign(x);
	let [term, sum] = [x, x];
	for (let n = 1; n < 150; n++) {
		term *= (-x * x) / n;
		sum += term / (2 * n + 1);
	}
	return (2 / Math.sqrt(Math.PI)) * sum;
}

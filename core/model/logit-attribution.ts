/**
 * What directions in a model's activations write to its logits when nothing comes between: direct logit attribution
 * (nostalgebraist 2020, the logit lens; Elhage et al. 2021). Through the final norm goes its weight, and for LayerNorm
 * the removal of the mean; its division by a scale, which depends on the token, is left out, as is a cap of the logits.
 */
import type { Gpu } from "../../kernels/gpu.ts";
import { roundUp, TILE, unpadRows } from "../../kernels/layout.ts";
import { submit } from "../../kernels/program.ts";
import { SaeError } from "../errors.ts";
import { openWeights } from "./folder.ts";
import { LogitHead } from "./head.ts";
import type { HookPoint } from "./hooks.ts";
import { Products, type Rows, type Step } from "./product.ts";
import type { Layer, Linear, ModelSpec, Norm } from "./spec.ts";
import { strideOf, type Weights } from "./weights.ts";

/** Directions that are worked on at a time. */
const CHUNK = 1024;

/** A hook point's way to the logits. */
interface Route {
	/** The map that takes it to the residual stream, where it is not there already. */
	readonly linear?: Linear;
	/** Norms that it goes through. */
	readonly norms: readonly Norm[];
}

export interface LogitAttribution {
	readonly vocab: number;
	/**
	 * Logits of directions [n, width of the hook point], some at a time: `use` gets those of directions `first` to
	 * `first + count` as [count, vocab].
	 */
	each(
		directions: Float32Array,
		use: (logits: Float32Array, first: number, count: number) => void | Promise<void>,
	): Promise<void>;
	close(): void;
}

/**
 * Loads what lies between a hook point and the logits from a model's folder.
 *
 * @throws SaeError for a hook point that reaches the logits only through attention or activations.
 */
export async function openLogitAttribution(
	gpu: Gpu,
	folder: string,
	spec: ModelSpec,
	point: HookPoint,
): Promise<LogitAttribution> {
	const route = routeOf(spec, point);
	const weights = await openWeights(folder, spec);
	try {
		const linears = [...(route.linear ? [route.linear] : []), spec.unembed];
		weights.check(linears, route.norms, spec.d_model);
		const matrices = await Promise.all(linears.map((linear) => weights.matrix(gpu, linear)));
		const factors = await Promise.all(
			route.norms.map((norm) => weights.norm(norm, spec.d_model, spec.norm.plusOne)),
		);
		return await gpu.checked(
			"direct logit attribution",
			() => new GpuAttribution(gpu, spec, point, matrices, factors),
		);
	} finally {
		await weights.close();
	}
}

/** @throws SaeError for a hook point that reaches the logits only through attention or activations. */
export function checkLogitRoute(spec: ModelSpec, point: HookPoint): void {
	routeOf(spec, point);
}

function routeOf(spec: ModelSpec, { name, layer }: HookPoint): Route {
	const own: Layer | undefined = layer === undefined ? undefined : spec.layers[layer];
	const part = name.replace(/^blocks\.\d+\./, "");
	const after = (norm: Norm | undefined) => [...(norm ? [norm] : []), spec.finalNorm];
	switch (part) {
		case "hook_embed":
		case "hook_pos_embed":
		case "hook_resid_pre":
		case "hook_resid_mid":
		case "hook_resid_post":
		case "hook_attn_out":
		case "hook_mlp_out":
			return { norms: [spec.finalNorm] };
		case "attn.hook_z":
			return { linear: own!.o, norms: after(own!.ln1Post) };
		case "attn.out":
			return { norms: after(own!.ln1Post) };
		case "mlp.hook_post":
			return { linear: own!.down, norms: after(own!.ln2Post) };
		case "mlp.out":
			return { norms: after(own!.ln2Post) };
		case "ln_final.out":
			return { norms: [] };
	}
	throw new SaeError(
		`${name}: nothing leads from there straight to the logits; the residual stream, attn.hook_z, mlp.hook_post and what attention and MLP add do`,
	);
}

type Matrix = Awaited<ReturnType<Weights["matrix"]>>;

class GpuAttribution implements LogitAttribution {
	readonly vocab: number;
	readonly #gpu: Gpu;
	readonly #spec: ModelSpec;
	readonly #factors: readonly Float32Array[];
	readonly #from: Rows;
	/** In the residual stream. */
	readonly #into: Rows;
	readonly #steps: readonly Step[];
	readonly #head: LogitHead;
	readonly #buffers: GPUBuffer[];

	constructor(
		gpu: Gpu,
		spec: ModelSpec,
		point: HookPoint,
		matrices: readonly Matrix[],
		factors: readonly Float32Array[],
	) {
		this.#gpu = gpu;
		this.#spec = spec;
		this.vocab = spec.vocab;
		this.#factors = factors;
		this.#buffers = matrices.flatMap(({ shards }) => shards.map(({ buffer }) => buffer));
		const own = (buffer: GPUBuffer) => {
			this.#buffers.push(buffer);
			return buffer;
		};
		const rows = (width: number): Rows => {
			const stride = strideOf(width);
			return { width, stride, buffer: own(gpu.buffer("directions", roundUp(CHUNK, TILE) * stride * 4)) };
		};
		const largest = Math.max(
			...matrices.flatMap(({ shards, stride }) => shards.map(({ count }) => count * stride)),
		);
		const products = new Products(gpu, largest, own);
		const [linear, unembed] = matrices.length > 1 ? matrices : [undefined, matrices[0]];
		this.#into = rows(spec.d_model);
		this.#from = linear ? rows(point.width) : this.#into;
		const operand = products.operand(this.#from);
		this.#steps = linear
			? [...operand.steps, ...products.steps("to the residual stream", linear, operand, this.#into)]
			: [];
		this.#head = new LogitHead(gpu, { vocab: spec.vocab, logitCap: 0 }, unembed!, products, CHUNK);
	}

	async each(
		directions: Float32Array,
		use: (logits: Float32Array, first: number, count: number) => void | Promise<void>,
	): Promise<void> {
		const { width } = this.#from;
		for (let first = 0; first * width < directions.length; first += CHUNK) {
			const part = directions.subarray(first * width, (first + CHUNK) * width);
			const count = part.length / width;
			const residual = this.#normalised(await this.#residual(part, count), count);
			this.#write(this.#into, residual, count);
			const point = { name: "ln_final.out", layer: undefined, width: this.#spec.d_model };
			const { buffer, stride } = this.#into;
			await this.#head.eachLogits({ point, buffer, rows: count, stride }, async (logits) => {
				const bytes = await this.#gpu.read(logits.buffer, 0, logits.rows * logits.stride * 4);
				const values = unpadRows(new Float32Array(bytes), this.vocab, logits.stride, logits.rows);
				await use(values, first + logits.firstRow, logits.rows);
			});
		}
	}

	close(): void {
		this.#head.close();
		for (const buffer of this.#buffers) buffer.destroy();
	}

	async #residual(part: Float32Array, count: number): Promise<Float32Array> {
		if (this.#steps.length === 0) return part.slice();
		const gpu = this.#gpu;
		this.#write(this.#from, part, count);
		submit(
			gpu,
			this.#steps.map(({ dispatch, groups }) => ({
				...dispatch,
				groups: groups({ rows: count, blocks: 0 }),
			})),
		);
		const { buffer, stride, width } = this.#into;
		const bytes = await gpu.read(buffer, 0, count * stride * 4);
		return unpadRows(new Float32Array(bytes), width, stride, count);
	}

	#normalised(rows: Float32Array, count: number): Float32Array {
		const width = this.#spec.d_model;
		for (const factor of this.#factors) {
			for (let row = 0; row < count; row++) {
				const own = rows.subarray(row * width, (row + 1) * width);
				const mean =
					this.#spec.norm.kind === "layer" ? own.reduce((sum, value) => sum + value, 0) / width : 0;
				for (let i = 0; i < width; i++) own[i] = (own[i]! - mean) * factor[i]!;
			}
		}
		return rows;
	}

	#write({ buffer, stride, width }: Rows, rows: Float32Array, count: number): void {
		const padded = new Float32Array(count * stride);
		for (let row = 0; row < count; row++) {
			padded.set(rows.subarray(row * width, (row + 1) * width), row * stride);
		}
		this.#gpu.write(buffer, padded);
	}
}

export interface TokenLogit {
	readonly token: number;
	readonly logit: number;
}

/** The tokens with the largest logits, or with `-1` for `sign` the smallest; of equal ones the lower token first. */
export function extremeTokens(logits: Float32Array, count: number, sign: 1 | -1): TokenLogit[] {
	const found: TokenLogit[] = [];
	for (let token = 0; token < logits.length; token++) {
		const logit = logits[token]!;
		if (found.length === count && sign * logit <= sign * found[count - 1]!.logit) continue;
		let at = found.length;
		while (at > 0 && sign * logit > sign * found[at - 1]!.logit) at--;
		found.splice(at, 0, { token, logit });
		if (found.length > count) found.pop();
	}
	return found;
}

/** From the final norm's rows to logits and losses, some rows at a time: the logits of all are never held. */
import type { Gpu } from "../../kernels/gpu.ts";
import { TILE } from "../../kernels/layout.ts";
import { mapGroups, mapRows } from "../../kernels/model/map.ts";
import { tokenLosses } from "../../kernels/model/token-loss.ts";
import { submit } from "../../kernels/program.ts";
import { type Products, type Rows, type Step, step } from "./product.ts";
import type { ModelSpec } from "./spec.ts";
import type { HookValue } from "./transformer.ts";
import { type DeviceMatrix, strideOf } from "./weights.ts";

/** Bytes of logits at a time. */
const LOGIT_BYTES = 256 * 2 ** 20;

/** Logits of some rows on the device, until the next ones come. */
export interface Logits {
	/** [rows, stride], float32; a row has `vocab` numbers. */
	readonly buffer: GPUBuffer;
	readonly firstRow: number;
	readonly rows: number;
	readonly vocab: number;
	readonly stride: number;
}

export class LogitHead {
	readonly #gpu: Gpu;
	readonly #spec: Pick<ModelSpec, "vocab" | "logitCap">;
	readonly #matrix: DeviceMatrix;
	readonly #logits: Rows;
	/** Rows at a time. */
	readonly #chunk: number;
	readonly #targets: GPUBuffer;
	readonly #losses: GPUBuffer;
	readonly #products: Products;
	readonly #buffers: GPUBuffer[] = [];
	/** By the first row, for the array that was given last. */
	readonly #steps = new Map<number, readonly Step[]>();
	#from: GPUBuffer | undefined;

	/** `rows`: of a pass, at most. The matrix stays its maker's. */
	constructor(
		gpu: Gpu,
		spec: Pick<ModelSpec, "vocab" | "logitCap">,
		matrix: DeviceMatrix,
		products: Products,
		rows: number,
	) {
		this.#gpu = gpu;
		this.#spec = spec;
		this.#matrix = matrix;
		this.#products = products;
		const stride = strideOf(spec.vocab);
		const fitting = Math.floor(Math.min(LOGIT_BYTES, gpu.maxBinding) / (stride * 4 * TILE)) * TILE;
		this.#chunk = Math.min(Math.max(TILE, fitting), Math.ceil(rows / TILE) * TILE);
		const buffer = this.#own(gpu.buffer("logits", this.#chunk * stride * 4));
		this.#logits = { buffer, width: spec.vocab, stride };
		this.#targets = this.#own(gpu.buffer("targets", rows * 4));
		this.#losses = this.#own(gpu.buffer("losses", rows * 4));
	}

	/** Makes the logits of the rows of `ln_final.out`, and hands them out a part at a time. */
	async eachLogits(final: HookValue, use: (logits: Logits) => void | Promise<void>): Promise<void> {
		const { vocab } = this.#spec;
		const { buffer, stride } = this.#logits;
		for (let firstRow = 0; firstRow < final.rows; firstRow += this.#chunk) {
			const rows = Math.min(this.#chunk, final.rows - firstRow);
			const steps = this.#chunkSteps(final, firstRow);
			submit(
				this.#gpu,
				steps.map(({ dispatch, groups }) => ({ ...dispatch, groups: groups({ rows, blocks: 0 }) })),
			);
			await use({ buffer, firstRow, rows, vocab, stride });
		}
	}

	/**
	 * Cross-entropy of each row in nats.
	 *
	 * @param targets the token that came after each row; NO_TARGET where none did, whose loss is 0.
	 */
	async losses(final: HookValue, targets: Uint32Array): Promise<Float32Array> {
		const gpu = this.#gpu;
		gpu.write(this.#targets, Uint32Array.from(targets));
		const threads = gpu.threads(256);
		await this.eachLogits(final, ({ buffer, firstRow, rows, vocab, stride }) => {
			const size = gpu.constants(firstRow, rows, vocab, stride);
			const bindings = [size, buffer, this.#targets, this.#losses];
			const losses = step(gpu, "losses", tokenLosses(threads), bindings, () => rows);
			submit(gpu, [{ ...losses.dispatch, groups: losses.groups({ rows, blocks: 0 }) }]);
			size.destroy();
		});
		return new Float32Array(await gpu.read(this.#losses, 0, final.rows * 4));
	}

	close(): void {
		for (const buffer of this.#buffers) buffer.destroy();
	}

	#chunkSteps(final: HookValue, firstRow: number): readonly Step[] {
		if (this.#from !== final.buffer) this.#steps.clear();
		this.#from = final.buffer;
		const known = this.#steps.get(firstRow);
		if (known) return known;
		const from = { buffer: final.buffer, stride: final.stride, width: final.point.width };
		const steps = this.#products.steps("logits", this.#matrix, from, this.#logits, firstRow);
		const { logitCap: cap } = this.#spec;
		if (cap > 0) {
			const { buffer, stride } = this.#logits;
			const size = this.#own(this.#gpu.constants(stride / 4));
			const code = mapRows({ kind: "softcap", cap });
			steps.push(step(this.#gpu, "softcap", code, [size, buffer], ({ rows }) => mapGroups(rows, stride)));
		}
		this.#steps.set(firstRow, steps);
		return steps;
	}

	#own(buffer: GPUBuffer): GPUBuffer {
		this.#buffers.push(buffer);
		return buffer;
	}
}

/** From the final norm's rows to logits and losses, some rows at a time: the logits of all are never held. */
import type { Gpu } from "../../kernels/gpu.ts";
import { TILE } from "../../kernels/layout.ts";
import { tokenDivergences } from "../../kernels/model/divergence.ts";
import { mapGroups, mapRows } from "../../kernels/model/map.ts";
import { tokenLosses } from "../../kernels/model/token-loss.ts";
import { dispatch, submit } from "../../kernels/program.ts";
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

/** An array of logits, and what fills it from the array that was given last, by the first row. */
interface Place {
	readonly rows: Rows;
	from: GPUBuffer | undefined;
	readonly steps: Map<number, readonly Step[]>;
}

export class LogitHead {
	readonly #gpu: Gpu;
	readonly #spec: Pick<ModelSpec, "vocab" | "logitCap">;
	readonly #matrix: DeviceMatrix;
	readonly #logits: Place;
	/** Rows at a time. */
	readonly #chunk: number;
	readonly #targets: GPUBuffer;
	readonly #losses: GPUBuffer;
	readonly #products: Products;
	readonly #buffers: GPUBuffer[] = [];
	/** What comparisons need besides, once there is one. */
	#comparison: { readonly logits: Place; readonly divergences: GPUBuffer } | undefined;
	#kept: GPUBuffer | undefined;

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
		this.#logits = this.#place();
		this.#targets = this.#own(gpu.buffer("targets", rows * 4));
		this.#losses = this.#own(gpu.buffer("losses", rows * 4));
	}

	/** Makes the logits of the rows of `ln_final.out`, and hands them out a part at a time. */
	async eachLogits(final: HookValue, use: (logits: Logits) => void | Promise<void>): Promise<void> {
		for (let firstRow = 0; firstRow < final.rows; firstRow += this.#chunk) {
			await use(this.#fill(this.#logits, final, firstRow));
		}
	}

	/**
	 * Cross-entropy of each row in nats.
	 *
	 * @param targets the token that came after each row; NO_TARGET where none did, whose loss is 0.
	 */
	async losses(final: HookValue, targets: Uint32Array): Promise<Float32Array> {
		this.#gpu.write(this.#targets, Uint32Array.from(targets));
		await this.eachLogits(final, (logits) => this.#lose(logits));
		return new Float32Array(await this.#gpu.read(this.#losses, 0, final.rows * 4));
	}

	/** Logits of some of the rows, in ascending order. */
	async read(final: HookValue, rows: readonly number[]): Promise<Float32Array[]> {
		const found: Float32Array[] = [];
		await this.eachLogits(final, async ({ buffer, firstRow, rows: count, vocab, stride }) => {
			for (const row of rows) {
				if (row < firstRow || row >= firstRow + count) continue;
				const bytes = await this.#gpu.read(buffer, (row - firstRow) * stride * 4, vocab * 4);
				found.push(new Float32Array(bytes));
			}
		});
		return found;
	}

	/** A copy of the rows of `ln_final.out`, which a later pass can be compared with. It lasts until the next one. */
	keep(final: HookValue): HookValue {
		const { buffer, rows, stride } = final;
		this.#kept ??= this.#own(this.#gpu.buffer("kept rows", buffer.size));
		const bytes = rows * stride * 4;
		submit(this.#gpu, [], {
			after: [{ from: buffer, fromOffset: 0, to: this.#kept, toOffset: 0, bytes }],
		});
		return { ...final, buffer: this.#kept };
	}

	/** Cross-entropies, as `losses` gives them, and KL(clean ‖ final) of each row in nats. */
	async compare(
		clean: HookValue,
		final: HookValue,
		targets: Uint32Array,
	): Promise<{ readonly losses: Float32Array; readonly divergences: Float32Array }> {
		const gpu = this.#gpu;
		this.#comparison ??= {
			logits: this.#place(),
			divergences: this.#own(gpu.buffer("divergences", this.#losses.size)),
		};
		const { logits: other, divergences } = this.#comparison;
		const code = tokenDivergences(gpu.threads(256));
		gpu.write(this.#targets, Uint32Array.from(targets));
		await this.eachLogits(final, (logits) => {
			this.#lose(logits);
			const { buffer } = this.#fill(other, clean, logits.firstRow);
			this.#perRow("divergences", code, logits, [buffer, logits.buffer, divergences]);
		});
		const read = async (buffer: GPUBuffer) => new Float32Array(await gpu.read(buffer, 0, final.rows * 4));
		return { losses: await read(this.#losses), divergences: await read(divergences) };
	}

	close(): void {
		for (const buffer of this.#buffers) buffer.destroy();
	}

	#place(): Place {
		const width = this.#spec.vocab;
		const stride = strideOf(width);
		const buffer = this.#own(this.#gpu.buffer("logits", this.#chunk * stride * 4));
		return { rows: { buffer, width, stride }, from: undefined, steps: new Map() };
	}

	/** Logits of the rows from `firstRow` on, as many as there is room for. */
	#fill(place: Place, final: HookValue, firstRow: number): Logits {
		const { buffer, stride, width: vocab } = place.rows;
		const rows = Math.min(this.#chunk, final.rows - firstRow);
		const steps = this.#chunkSteps(place, final, firstRow);
		submit(
			this.#gpu,
			steps.map(({ dispatch, groups }) => ({ ...dispatch, groups: groups({ rows, blocks: 0 }) })),
		);
		return { buffer, firstRow, rows, vocab, stride };
	}

	#lose(logits: Logits): void {
		const code = tokenLosses(this.#gpu.threads(256));
		this.#perRow("losses", code, logits, [logits.buffer, this.#targets, this.#losses]);
	}

	/** A kernel with a workgroup per row of these logits. */
	#perRow(
		label: string,
		code: string,
		{ firstRow, rows, vocab, stride }: Logits,
		bindings: GPUBuffer[],
	): void {
		const size = this.#gpu.constants(firstRow, rows, vocab, stride);
		submit(this.#gpu, [dispatch(this.#gpu, label, code, [size, ...bindings], rows)]);
		size.destroy();
	}

	#chunkSteps(place: Place, final: HookValue, firstRow: number): readonly Step[] {
		if (place.from !== final.buffer) place.steps.clear();
		place.from = final.buffer;
		const known = place.steps.get(firstRow);
		if (known) return known;
		const from = { buffer: final.buffer, stride: final.stride, width: final.point.width };
		const operand = this.#products.operand(from, firstRow);
		const steps = [...operand.steps, ...this.#products.steps("logits", this.#matrix, operand, place.rows)];
		const { logitCap: cap } = this.#spec;
		if (cap > 0) {
			const { buffer, stride } = place.rows;
			const size = this.#own(this.#gpu.constants(stride / 4));
			const code = mapRows({ kind: "softcap", cap });
			steps.push(step(this.#gpu, "softcap", code, [size, buffer], ({ rows }) => mapGroups(rows, stride)));
		}
		place.steps.set(firstRow, steps);
		return steps;
	}

	#own(buffer: GPUBuffer): GPUBuffer {
		this.#buffers.push(buffer);
		return buffer;
	}
}

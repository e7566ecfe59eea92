/** What encodes text in this page: opened once, from what the page holds and what a person picked. */
import { openSafetensorsBytes } from "../../../../core/files/safetensors-read.ts";
import type { SaeModel } from "../../../../core/sae.ts";
import type { LiveManifest } from "../format.ts";
import { type EncodedText, openTextLatents } from "./encode.ts";
import { bytesOf, type ModelFiles, readModelFiles, readSae } from "./files.ts";
import { openBrowserGpu } from "./gpu.ts";
import { blobBytes } from "./store.ts";

export interface Opened {
	encode(text: string): Promise<EncodedText>;
	close(): void;
}

export class Session {
	readonly #live: LiveManifest;
	#sae: SaeModel | undefined;
	#model: ModelFiles | undefined;
	#opened: Promise<Opened> | undefined;

	constructor(live: LiveManifest) {
		this.#live = live;
	}

	/** Whether a person must pick these. */
	get asks(): { readonly sae: boolean; readonly model: boolean } {
		const { sae, model } = this.#live.embedded;
		return { sae: !sae, model: !model };
	}

	/** @throws SaeError for a file that isn't this SAE's. */
	async pickSae([file]: readonly File[]): Promise<void> {
		this.#forget();
		this.#sae = file && (await readSae(this.#live, bytesOf(file.name, file)));
	}

	/** @throws SaeError for files that are no language model's. */
	async pickModel(files: readonly File[]): Promise<void> {
		this.#forget();
		this.#model = await readModelFiles(files.map((file) => bytesOf(file.name, file)));
	}

	/** Opens what is needed first. @throws an error whose message is for the person. */
	async encode(text: string): Promise<EncodedText> {
		this.#opened ??= this.#open();
		try {
			return await (await this.#opened).encode(text);
		} catch (error) {
			// The device may be lost; the next try gets another.
			this.#forget();
			throw error;
		}
	}

	#forget(): void {
		this.#opened?.then((opened) => opened.close()).catch(() => {});
		this.#opened = undefined;
	}

	async #open(): Promise<Opened> {
		const { hookPoint, inference } = this.#live;
		if (hookPoint === undefined) {
			throw new Error("Nobody says which hook point the SAE reads; make the page with --hook-point.");
		}
		const sae = this.#sae ?? (await this.#heldSae());
		if (!sae) throw new Error("Pick the SAE's file first.");
		const model = this.#model ?? (await this.#heldModel());
		if (!model) throw new Error("Pick the language model's files first.");
		const gpu = await openBrowserGpu(navigator.gpu);
		if (typeof gpu === "string") {
			throw new Error(`${gpu} Text can't be encoded here; everything else on this page works.`);
		}
		try {
			const latents = await openTextLatents(gpu, sae, inference, model, hookPoint);
			return { encode: (text) => latents.encode(text), close: () => gpu.close() };
		} catch (error) {
			gpu.close();
			throw error;
		}
	}

	async #heldSae(): Promise<SaeModel | undefined> {
		const { sae } = this.#live.embedded;
		return (
			sae && readSae(this.#live, bytesOf("the SAE of this page", new Blob([await blobBytes("sae", sae)])))
		);
	}

	async #heldModel(): Promise<ModelFiles | undefined> {
		const { model } = this.#live.embedded;
		if (!model) return undefined;
		const bytes = bytesOf("the model of this page", new Blob([await blobBytes("model", model.weights)]));
		return { ...model, weights: await openSafetensorsBytes(bytes) };
	}
}

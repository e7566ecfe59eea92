/** A text of one's own, token by token with its latents. */

import { openSafetensorsBytes } from "../../../../core/files/safetensors-read.ts";
import type { SaeModel } from "../../../../core/sae.ts";
import type { LiveManifest } from "../format.ts";
import { h } from "./dom.ts";
import { type ActiveLatent, openTextLatents, type TextLatents } from "./encode.ts";
import { bytesOf, type ModelFiles, readModelFiles, readSae } from "./files.ts";
import { openBrowserGpu } from "./gpu.ts";
import { percent, shown } from "./numbers.ts";
import { addressOf } from "./routes.ts";
import { blobBytes, type Store } from "./store.ts";
import { label } from "./text.ts";
import { tokenElement } from "./tokens.ts";

/** Latents that are listed of a text, or of a token. */
const LISTED = 40;

const EXAMPLE = "The king said to his son: open the file and read every line.";

/** With its value as a share of its maximum on the rows of the statistics; 1 where that is passed. */
interface RankedLatent extends ActiveLatent {
	readonly share: number;
}

export function liveView(store: Store, live: LiveManifest): HTMLElement {
	let picked: { sae?: Promise<SaeModel>; model?: Promise<ModelFiles> } = {};
	let opened: Promise<TextLatents> | undefined;
	let shownText:
		| { readonly tokens: readonly { readonly text: string; readonly latents: readonly RankedLatent[] }[] }
		| undefined;
	let latent: number | undefined;
	let token: number | undefined;

	const status = h("p", { class: "status", role: "status" });
	const text = h("textarea", { id: "text", rows: 3, "aria-label": "Text to encode", spellcheck: "false" });
	text.value = EXAMPLE;
	const button = h("button", { type: "submit", class: "primary" }, "Show latents");
	const result = h("div", { class: "result" });
	const form = h(
		"form",
		{
			onsubmit: (event: Event) => {
				event.preventDefault();
				void encode();
			},
		},
		text,
		button,
	);
	text.addEventListener("keydown", (event) => {
		if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void encode();
	});

	const { embedded, hookPoint } = live;
	const saePicker =
		!embedded.sae &&
		picker(
			"sae-file",
			"The SAE's sae_weights.safetensors; sae import makes one of other formats",
			false,
			([file]) => {
				picked = { ...picked, sae: readSae(live, bytesOf(file!.name, file!)) };
				return picked.sae!;
			},
		);
	const modelPicker =
		!embedded.model &&
		picker(
			"model-files",
			`The language model${live.model ? `, ${live.model}` : ""}: config.json, tokenizer.json and model.safetensors`,
			true,
			(files) => {
				picked = { ...picked, model: readModelFiles(files.map((file) => bytesOf(file.name, file))) };
				return picked.model!;
			},
		);

	function picker(
		id: string,
		name: string,
		multiple: boolean,
		use: (files: readonly File[]) => Promise<unknown>,
	): HTMLElement {
		const input = h("input", {
			type: "file",
			id,
			multiple,
			onchange: () => {
				const files = [...(input.files ?? [])];
				if (files.length === 0) return;
				void opened?.then((one) => one.close()).catch(() => {});
				opened = undefined;
				use(files).then(
					() => say(""),
					(error) => say((error as Error).message),
				);
			},
		});
		return h("p", { class: "picker" }, h("label", { for: id }, name), input);
	}

	function say(message: string): void {
		status.textContent = message;
	}

	async function open(): Promise<TextLatents> {
		if (hookPoint === undefined)
			throw new Error("Nobody says which hook point the SAE reads; make the page with --hook-point.");
		const sae = embedded.sae
			? readSae(live, bytesOf("the SAE of this page", new Blob([await blobBytes("sae", embedded.sae)])))
			: picked.sae;
		const model = embedded.model ? embeddedModel(embedded.model) : picked.model;
		if (!sae) throw new Error("Pick the SAE's file first.");
		if (!model) throw new Error("Pick the language model's files first.");
		const gpu = await openBrowserGpu(navigator.gpu);
		if (typeof gpu === "string") {
			throw new Error(`${gpu} Text can't be encoded here; everything else on this page works.`);
		}
		say(gpu.info.software ? "Preparing, on the CPU, which takes a while…" : "Preparing…");
		return openTextLatents(gpu, await sae, live.inference, await model, hookPoint);
	}

	async function encode(): Promise<void> {
		button.disabled = true;
		say("Preparing…");
		try {
			opened ??= open();
			const encoder = await opened;
			say("Encoding…");
			const encoded = await encoder.encode(text.value);
			shownText = {
				tokens: encoded.tokens.map(({ text, latents }) => ({ text, latents: ranking(latents) })),
			};
			[latent, token] = [undefined, undefined];
			say(encoded.cut ? "The text is longer than a pass takes; its beginning is shown." : "");
			draw();
		} catch (error) {
			opened = undefined;
			say((error as Error).message);
		} finally {
			button.disabled = false;
		}
	}

	/** Latents by how near they are to the largest activations that they are known to have. */
	function ranking(latents: readonly ActiveLatent[]): RankedLatent[] {
		return latents
			.map(({ latent, value }) => {
				const row = store.rowOf(latent);
				const most = (row === undefined ? 0 : store.columns.max![row]!) || value;
				return { latent, value, share: Math.min(1, value / most) };
			})
			.sort((a, b) => b.share - a.share);
	}

	function draw(): void {
		if (!shownText) return;
		const { tokens } = shownText;
		const strength = (i: number) => {
			const [first] = tokens[i]!.latents;
			if (latent === undefined) return first?.share ?? 0;
			return tokens[i]!.latents.find((one) => one.latent === latent)?.share ?? 0;
		};
		const most = Math.max(...tokens.map((_, i) => strength(i)), 0);
		const line = tokens.map(({ text }, i) => {
			const inner = tokenElement({ text, value: strength(i), marked: i === token }, most);
			return h(
				"button",
				{
					type: "button",
					class: "token",
					"aria-pressed": i === token ? "true" : "false",
					onclick: () => {
						token = i === token ? undefined : i;
						draw();
					},
				},
				inner,
			);
		});
		const best = new Map<number, RankedLatent>();
		for (const { latents } of token === undefined ? tokens : [tokens[token]!]) {
			for (const one of latents)
				if (one.value > (best.get(one.latent)?.value ?? 0)) best.set(one.latent, one);
		}
		const ranked = [...best.values()].sort((a, b) => b.share - a.share);
		const place = document.activeElement;
		const focused = place instanceof HTMLElement && result.contains(place) ? place.dataset.key : undefined;
		for (const [i, element] of line.entries()) element.dataset.key = `token ${i}`;
		result.replaceChildren(
			h("p", { class: "text live" }, line),
			h(
				"p",
				{ class: "soft" },
				latent === undefined
					? "Brightness is that of each token's most active latent, as a share of the largest activation it is known to have."
					: `Brightness is latent ${latent}’s. `,
				latent !== undefined &&
					h(
						"button",
						{
							type: "button",
							class: "link",
							onclick: () => {
								latent = undefined;
								draw();
							},
						},
						"show all again",
					),
			),
			h(
				"h3",
				{},
				token === undefined
					? `${shown(ranked.length)} latents are active in this text`
					: `${shown(ranked.length)} latents are active on “${label(tokens[token]!.text)}”`,
			),
			h("div", { class: "wide" }, table(ranked.slice(0, LISTED))),
		);
		if (focused) result.querySelector<HTMLElement>(`[data-key="${focused}"]`)?.focus();
	}

	function table(ranked: readonly RankedLatent[]): HTMLElement {
		return h(
			"table",
			{ class: "links" },
			h(
				"thead",
				{},
				h(
					"tr",
					{},
					["latent", "active on", "density", "value", ""].map((name, i) =>
						h("th", { scope: "col", class: i === 2 || i === 3 ? "amount" : undefined }, name),
					),
				),
			),
			h(
				"tbody",
				{},
				ranked.map(({ latent: number, value, share }) => {
					const row = store.rowOf(number);
					const amount = h("td", { class: "amount" }, shown(value));
					amount.style.setProperty("--share", String(share));
					const tokens = row === undefined ? [] : store.labels.tokens[row]!;
					const explanation = row === undefined ? undefined : store.labels.texts.explanation?.[row];
					const mark = h(
						"button",
						{
							type: "button",
							class: "link",
							"aria-pressed": number === latent ? "true" : "false",
							onclick: () => {
								latent = number === latent ? undefined : number;
								draw();
							},
						},
						"show",
					);
					mark.dataset.key = `latent ${number}`;
					return h(
						"tr",
						{},
						h(
							"td",
							{},
							row === undefined
								? number
								: h("a", { href: addressOf({ view: "latent", latent: number }) }, number),
						),
						h(
							"td",
							{ class: "tokens" },
							explanation ?? tokens.slice(0, 5).map((one) => h("span", { class: "chip" }, label(one))),
						),
						h(
							"td",
							{ class: "amount plain" },
							row === undefined ? "" : percent(store.columns.density![row]!),
						),
						amount,
						h("td", {}, mark),
					);
				}),
			),
		);
	}

	if (!navigator.gpu)
		say("This browser has no WebGPU, so it can't encode text; everything else on this page works.");
	return h(
		"article",
		{ class: "live" },
		h("h2", { tabindex: -1 }, "Try text"),
		h(
			"p",
			{ class: "soft" },
			`Your text goes through ${live.model ?? "the language model"}${hookPoint ? ` up to ${hookPoint}` : ""} and the SAE, on this computer. Nothing is sent anywhere.${embedded.sae ? " Weights are in float16, so values differ a little from those of sae." : ""}`,
		),
		saePicker,
		modelPicker,
		form,
		status,
		result,
	);
}

async function embeddedModel(model: NonNullable<LiveManifest["embedded"]["model"]>): Promise<ModelFiles> {
	const bytes = bytesOf("the model of this page", new Blob([await blobBytes("model", model.weights)]));
	return { ...model, weights: await openSafetensorsBytes(bytes) };
}

/** A text of one's own, token by token with its latents. */
import type { LiveManifest } from "../format.ts";
import { h } from "./dom.ts";
import { liveResult } from "./live-result.ts";
import { Session } from "./session.ts";
import type { Store } from "./store.ts";

const EXAMPLE = "The king said to his son: open the file and read every line.";

export function liveView(store: Store, live: LiveManifest): HTMLElement {
	const session = new Session(live);
	const status = h("p", { class: "status", role: "status" });
	const text = h("textarea", { rows: 3, "aria-label": "Text to encode", spellcheck: "false" });
	text.value = EXAMPLE;
	const button = h("button", { type: "submit", class: "primary" }, "Show latents");
	const result = h("div", {});
	const say = (message: string) => {
		status.textContent = message;
	};

	async function encode(): Promise<void> {
		if (button.disabled) return;
		button.disabled = true;
		say("Encoding…");
		try {
			const { tokens, cut } = await session.encode(text.value);
			result.replaceChildren(liveResult(store, tokens));
			say(cut ? "The text is longer than a pass takes; its beginning is shown." : "");
		} catch (error) {
			say((error as Error).message);
		} finally {
			button.disabled = false;
		}
	}

	const onsubmit = (event: Event) => {
		event.preventDefault();
		void encode();
	};
	text.addEventListener("keydown", (event) => {
		if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void encode();
	});
	if (!navigator.gpu) say("This browser has no WebGPU, so it can't encode text; everything else works.");

	const model = live.model ?? "the language model";
	const way = `${model}${live.hookPoint ? ` up to ${live.hookPoint}` : ""}`;
	const rounded = session.asks.sae
		? ""
		: " The SAE is in float16, so values differ a little from those of sae.";
	const pick = (
		id: string,
		name: string,
		multiple: boolean,
		use: (files: readonly File[]) => Promise<void>,
	) =>
		picker(id, name, multiple, (files) => {
			say("Reading…");
			use(files).then(
				() => say(""),
				(error: Error) => say(error.message),
			);
		});
	return h(
		"article",
		{ class: "live" },
		h("h2", { tabindex: -1 }, "Try text"),
		h(
			"p",
			{ class: "soft" },
			`Your text goes through ${way} and the SAE, on this computer. Nothing is sent anywhere.${rounded}`,
		),
		session.asks.sae &&
			pick(
				"sae-file",
				"The SAE's sae_weights.safetensors; sae import makes one of other formats",
				false,
				(files) => session.pickSae(files),
			),
		session.asks.model &&
			pick(
				"model-files",
				`Of ${model}: config.json, tokenizer.json and model.safetensors, together`,
				true,
				(files) => session.pickModel(files),
			),
		h("form", { onsubmit }, text, button),
		status,
		result,
	);
}

function picker(
	id: string,
	name: string,
	multiple: boolean,
	use: (files: readonly File[]) => void,
): HTMLElement {
	const input = h("input", {
		type: "file",
		id,
		multiple,
		onchange: () => {
			const files = [...(input.files ?? [])];
			if (files.length > 0) use(files);
		},
	});
	return h("p", { class: "picker" }, h("label", { for: id }, name), input);
}

/** The tokens that each latent's decoder row raises and lowers most. */
import { extremeTokens, type LogitAttribution } from "../model/logit-attribution.ts";
import { RankedLists } from "./ranked-lists.ts";

export interface TokenValue {
	readonly token: number;
	readonly logit: number;
}

export interface LatentLogits {
	readonly top: RankedLists<TokenValue>;
	readonly bottom: RankedLists<TokenValue>;
}

/** @param directions decoder rows [d_sae, width of the hook point]. */
export async function latentLogits(
	attribution: LogitAttribution,
	directions: Float32Array,
	d_sae: number,
	most: number,
	progress: (latents: number) => void = () => {},
): Promise<LatentLogits> {
	const make = (token: number, logit: number): TokenValue => ({ token, logit });
	const top = new RankedLists(d_sae, most, make);
	const bottom = new RankedLists(d_sae, most, make);
	const pairs = (found: readonly TokenValue[]) => found.map(({ token, logit }) => [token, logit] as const);
	const { vocab } = attribution;
	await attribution.each(directions, (logits, first, count) => {
		for (let i = 0; i < count; i++) {
			const own = logits.subarray(i * vocab, (i + 1) * vocab);
			top.set(first + i, pairs(extremeTokens(own, most, 1)));
			bottom.set(first + i, pairs(extremeTokens(own, most, -1)));
		}
		progress(first + count);
	});
	return { top, bottom };
}

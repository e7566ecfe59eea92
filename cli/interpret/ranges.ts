/** Numbers of latents as a person lists them. */
import { z } from "zod";

/** `N,A:B,...`, B exclusive, as what says whether a latent is among them. */
export const latentRanges = z
	.string()
	.regex(/^\d+(:\d+)?(,\d+(:\d+)?)*$/, "must be like 3,17,100:200")
	.transform((text) => {
		const ranges = text.split(",").map((part) => {
			const [from, to] = part.split(":").map(Number);
			return { from: from!, to: to ?? from! + 1 };
		});
		return (latent: number) => ranges.some(({ from, to }) => latent >= from && latent < to);
	});

/** What verbs that run an SAE over a stream take: the SAE and where the stream is. */
import { z } from "zod";
import { inputOption } from "./input.ts";

export const saeOptions = {
	sae: z.string().min(1).describe("The SAE: a folder or file in any known format"),
	input: inputOption,
};

export const saePositionals = [{ key: "sae" }, { key: "input" }] as const;

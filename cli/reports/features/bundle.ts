/** The page's own program: one script, made of what is in `app/`. */
import { join } from "node:path";
import { SaeError } from "../../../core/errors.ts";

/** Start of the name of the program's file inside a compiled `sae`, which has no sources to make it of. */
const EMBEDDED = "features-page";

/** @throws SaeError where it can't be made. */
export async function pageProgram(): Promise<string> {
	const embedded = Bun.embeddedFiles.find((file) => (file as File).name.includes(EMBEDDED));
	const text = embedded ? await embedded.text() : await bundled();
	// A script element ends at the first of these, wherever it stands.
	const safe = text.replaceAll("</script", "<\\/script");
	if (safe.includes("<!--")) throw new Error("the page's program has <!--, which ends scripts early");
	return safe;
}

async function bundled(): Promise<string> {
	try {
		const { outputs } = await Bun.build({
			entrypoints: [join(import.meta.dir, "app", "main.ts")],
			target: "browser",
			format: "esm",
			minify: true,
		});
		return await outputs[0]!.text();
	} catch (error) {
		const reason = error instanceof AggregateError ? error.errors[0] : error;
		throw new SaeError(
			`the page's program can't be made here (${(reason as Error).message}); a compiled sae needs it inside: make that with npm run build:binary`,
		);
	}
}

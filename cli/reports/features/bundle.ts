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
	const built = await Bun.build({
		entrypoints: [join(import.meta.dir, "app", "main.ts")],
		target: "browser",
		format: "esm",
		minify: true,
		throw: false,
	});
	const [output] = built.outputs;
	if (!built.success || !output) {
		const reason = built.logs[0]?.message ?? "no output";
		throw new SaeError(
			`the page's program can't be made here (${reason}); a compiled sae needs it inside: build it with npm run build:binary`,
		);
	}
	return output.text();
}

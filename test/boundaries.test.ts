/** Which part may import which: kernels ← core ← cli, and plugins through the public interface only. */
import { describe, expect, test } from "bun:test";
import { builtinModules } from "node:module";
import { dirname, join, normalize } from "node:path";
import { Glob } from "bun";
import packageJson from "../package.json" with { type: "json" };

const ROOT = join(import.meta.dir, "..");
const BUILT_IN = new Set(builtinModules);
const transpiler = new Bun.Transpiler({ loader: "ts" });

/** An import, from a file, of another file of the project, a package or a built-in module. */
interface Import {
	readonly from: string;
	/** Path from the project's root, or the name of a package. */
	readonly to: string;
	readonly kind: "file" | "package" | "built-in";
}

async function importsOf(folder: string): Promise<Import[]> {
	const found: Import[] = [];
	for await (const name of new Glob("**/*.ts").scan(join(ROOT, folder))) {
		const from = `${folder}/${name}`;
		const text = await Bun.file(join(ROOT, from)).text();
		for (const specifier of specifiers(text)) found.push({ from, ...resolved(from, specifier) });
	}
	expect(found.length).toBeGreaterThan(5);
	return found;
}

/** Every module that a file names, for values or types. Biome's formatting makes text enough to go by. */
function specifiers(text: string): string[] {
	const statements = text.matchAll(/^(?:import|export)\b(?:[\w\s{},*$]*? from)? "([^"]+)"/gm);
	const calls = text.matchAll(/\bimport\("([^"]+)"\)/g);
	return [...new Set([...statements, ...calls].map(([, path]) => path!))];
}

function resolved(from: string, specifier: string): Pick<Import, "to" | "kind"> {
	if (specifier.startsWith(".")) return { to: normalize(join(dirname(from), specifier)), kind: "file" };
	const name = specifier.replace(/^(node|bun):/, "");
	if (specifier !== name || specifier === "bun" || BUILT_IN.has(name))
		return { to: specifier, kind: "built-in" };
	const parts = specifier.split("/");
	return { to: parts.slice(0, specifier.startsWith("@") ? 2 : 1).join("/"), kind: "package" };
}

/** The imports that no rule allows, as text. */
async function forbidden(folder: string, allowed: (one: Import) => boolean): Promise<string[]> {
	const imports = await importsOf(folder);
	return imports.filter((one) => !allowed(one)).map(({ from, to }) => `${from} imports ${to}`);
}

const within = (...folders: string[]) => {
	return ({ to, kind }: Import) => kind === "file" && folders.some((folder) => to.startsWith(`${folder}/`));
};

describe("imports", () => {
	test("kernels know nothing but kernels, and nothing of Bun", async () => {
		expect(await forbidden("kernels", within("kernels"))).toEqual([]);
		for await (const name of new Glob("*.ts").scan(join(ROOT, "kernels"))) {
			expect(await Bun.file(join(ROOT, "kernels", name)).text(), name).not.toMatch(
				/\bBun\.|\bprocess\.|\bBuffer\./,
			);
		}
	});

	test("core knows core, kernels and packages; the list of built-in plugins is its one way to them", async () => {
		const allowed = (one: Import) =>
			within("core", "kernels")(one) ||
			one.kind !== "file" ||
			(one.from === "core/built-in.ts" && one.to === "plugins/index.ts");
		expect(await forbidden("core", allowed)).toEqual([]);
	});

	test("plugins know the library by its name, packages, and plugins", async () => {
		expect(await forbidden("plugins", (one) => one.kind !== "file" || within("plugins")(one))).toEqual([]);
	});

	test("the command line is imported by nobody", async () => {
		const everything = await Promise.all(["kernels", "core", "plugins"].map(importsOf));
		expect(everything.flat().filter(({ to }) => to.startsWith("cli/"))).toEqual([]);
	});

	test("every package is declared", async () => {
		const declared = [...Object.keys(packageJson.dependencies), packageJson.name];
		const everything = await Promise.all(["kernels", "core", "plugins", "cli"].map(importsOf));
		const packages = new Set(
			everything
				.flat()
				.filter(({ kind }) => kind === "package")
				.map(({ to }) => to),
		);
		expect([...packages].filter((name) => !declared.includes(name))).toEqual([]);
	});

	test("plugins take only types and definePlugin from the library", async () => {
		for await (const name of new Glob("**/*.ts").scan(join(ROOT, "plugins"))) {
			const text = await Bun.file(join(ROOT, "plugins", name)).text();
			const values = transpiler.transformSync(text).matchAll(/import \{([^}]*)\} from "saeflow"/g);
			const names = [...values].flatMap(([, list]) => list!.split(",").map((one) => one.trim()));
			expect(
				names.filter((one) => one !== "definePlugin"),
				name,
			).toEqual([]);
		}
	});
});

test("the reader of imports finds every form of them", () => {
	const text = `
import a from "./a.ts";
import type { B } from "../b.ts";
import {
	type C,
} from "./c.ts";
import "./effect.ts";
export const from = "nowhere.ts";
export type { D } from "d/deep";
export * from "@e/e/deep";
type F = import("f").F;
const g = await import("./g.ts");
console.log(a, g);
`;
	const found = specifiers(text).map((specifier) => resolved("core/x/y.ts", specifier));
	expect(found.map(({ to }) => to).sort()).toEqual([
		"@e/e",
		"core/b.ts",
		"core/x/a.ts",
		"core/x/c.ts",
		"core/x/effect.ts",
		"core/x/g.ts",
		"d",
		"f",
	]);
});

/** `sae plugin new`: a package that type-checks, passes its test and works, to make one's own of. */
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { usageError } from "../core/errors.ts";
import { API_VERSION } from "../core/plugin.ts";
import packageJson from "../package.json" with { type: "json" };
import { registry } from "./plugins.ts";

interface Template {
	/** Text of src/index.ts, with NAME for the name. */
	readonly source: () => Promise<unknown>;
	readonly test: () => Promise<unknown>;
	/** A command that uses it. */
	readonly usage: string;
}

/** Imported as text, which puts them into a single binary too. */
const TEMPLATES = {
	architecture: {
		source: () => import("./templates/architecture/src/index.ts", { with: { type: "text" } }),
		test: () => import("./templates/architecture/test/index.test.ts", { with: { type: "text" } }),
		usage: "sae activations synthetic | sae train NAME --tokens 100000 --out my-sae",
	},
	source: {
		source: () => import("./templates/source/src/index.ts", { with: { type: "text" } }),
		test: () => import("./templates/source/test/index.test.ts", { with: { type: "text" } }),
		usage: "sae activations NAME --rows 1000",
	},
	evaluator: {
		source: () => import("./templates/evaluator/src/index.ts", { with: { type: "text" } }),
		test: () => import("./templates/evaluator/test/index.test.ts", { with: { type: "text" } }),
		usage: "sae activations synthetic | sae eval NAME my-sae",
	},
} as const satisfies Record<string, Template>;

export type Scaffolded = keyof typeof TEMPLATES;

const PREFIX = "sae-plugin-";

/**
 * Writes a package into a new folder of its name and returns the folder.
 *
 * @param given What commands call the plugin, e.g. `mine`, or the whole name of the package, e.g.
 *   `@scope/sae-plugin-mine`.
 */
export async function scaffold(given: string, kind: Scaffolded): Promise<string> {
	const scope = /^@[^/]+\//.exec(given)?.[0] ?? "";
	const name = given.slice(scope.length).replace(new RegExp(`^${PREFIX}`), "");
	if (!/^[a-z0-9][a-z0-9._-]*$/.test(name)) {
		throw usageError(`${given}: a name has lower-case letters, digits, -, _ and ., e.g. my-topk`);
	}
	if (registry.names(kind).includes(name))
		throw usageError(`${kind} ${name} is there already; choose another name`);
	const folder = PREFIX + name;
	if (existsSync(folder)) throw usageError(`${folder} is already there; choose another name or folder`);
	const beside = await mkdtemp(`${resolve(folder)}.`);
	try {
		for (const [path, text] of Object.entries(await filesOf(kind, name, scope + folder))) {
			await mkdir(dirname(join(beside, path)), { recursive: true });
			await writeFile(join(beside, path), text.replaceAll("NAME", name));
		}
		await rename(beside, folder);
	} catch (error) {
		await rm(beside, { recursive: true, force: true });
		throw error;
	}
	return folder;
}

async function filesOf(
	kind: Scaffolded,
	name: string,
	packageName: string,
): Promise<Readonly<Record<string, string>>> {
	const { source, test, usage } = TEMPLATES[kind];
	return {
		"package.json": json({
			name: packageName,
			version: "0.1.0",
			description: `The ${kind} ${name} for saeflow`,
			keywords: ["sae-plugin", "saeflow"],
			type: "module",
			exports: "./src/index.ts",
			files: ["src"],
			sae: { apiVersion: API_VERSION, provides: [`${kind}:${name}`] },
			scripts: { check: "tsc --noEmit", test: "tsc --noEmit && bun test --timeout 120000" },
			devDependencies: {
				"@types/bun": packageJson.devDependencies["@types/bun"],
				bun: packageJson.devDependencies.bun,
				saeflow: saeflowFrom(),
				typescript: packageJson.devDependencies.typescript,
			},
		}),
		"tsconfig.json": json({
			compilerOptions: {
				target: "ESNext",
				module: "Preserve",
				moduleResolution: "bundler",
				lib: ["ESNext"],
				types: ["bun"],
				strict: true,
				noUncheckedIndexedAccess: true,
				exactOptionalPropertyTypes: true,
				verbatimModuleSyntax: true,
				allowImportingTsExtensions: true,
				noEmit: true,
				skipLibCheck: true,
			},
			include: ["src", "test"],
		}),
		"README.md": readme(kind, packageName, usage),
		"src/index.ts": textOf(await source()),
		"test/index.test.ts": textOf(await test()),
	};
}

function json(value: unknown): string {
	return `${JSON.stringify(value, null, "\t")}\n`;
}

/** A module that was imported as text, whatever TypeScript takes it for. */
function textOf(module: unknown): string {
	return (module as { readonly default: string }).default;
}

/** What to install as saeflow: this very checkout, if it is one, for its version may not have been published. */
function saeflowFrom(): string {
	const root = resolve(import.meta.dir, "..");
	const isCheckout = !Bun.isStandaloneExecutable && basename(dirname(root)) !== "node_modules";
	return isCheckout ? `file:${root}` : `^${packageJson.version}`;
}

function readme(kind: Scaffolded, packageName: string, usage: string): string {
	return `# ${packageName}

The ${kind} \`NAME\` for [saeflow](https://www.npmjs.com/package/saeflow).

\`\`\`sh
npm install ${packageName}    # in the project where you run sae
${usage}
\`\`\`

## Working on it
\`\`\`sh
npm install
npm test       # type check, and the conformance suite of this kind of plugin
\`\`\`

\`src/index.ts\` is the plugin. It imports types from saeflow and nothing else: what it calls comes as the argument of
\`contributes\`. \`sae\` in package.json says what it provides, so that \`sae plugin list\` runs none of its code; a test
compares the two. To try it before it is published, put \`plugins = ["./${packageName.split("/").at(-1)}"]\` into
\`sae.config.toml\` of the folder above.
`;
}

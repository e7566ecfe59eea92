/** Turns a zod object into command-line flags: `d_sae: z.int().default(8)` becomes `--d-sae N`. */
import type { z } from "zod";

export interface Flag {
	/** The option's key in its schema and in a configuration file, snake_case. */
	readonly key: string;
	/** As typed after `--`, kebab-case. */
	readonly name: string;
	/** What its text becomes before zod sees it. `scalar` is a number where it looks like one, else text. */
	readonly type: "boolean" | "number" | "string" | "scalar";
	/** Placeholder of the value in help, e.g. `N` or `FILE`. */
	readonly hint: string;
	readonly choices: readonly string[];
	/** May be given more than once; the values form an array. */
	readonly repeated: boolean;
	readonly required: boolean;
	readonly default: unknown;
	readonly summary: string;
}

export function kebab(key: string): string {
	return key.replaceAll("_", "-");
}

/** The flags of an options schema, in the schema's order. */
export function flagsOf(schema: z.ZodType): Flag[] {
	return Object.entries(shapeOf(schema)).map(([key, field]) => flagOf(key, field));
}

/** The fields of an options schema, seen through refinements and transforms of the whole object. */
function shapeOf(schema: z.ZodType): Readonly<Record<string, z.ZodType>> {
	const { def } = inner(schema);
	if (def.type !== "object") throw new TypeError("the options of a command or plugin must be a zod object");
	return def.shape!;
}

/** What we read of a zod definition. */
interface Def {
	readonly type: string;
	readonly innerType?: z.ZodType;
	readonly in?: z.ZodType;
	readonly element?: z.ZodType;
	readonly options?: readonly z.ZodType[];
	readonly entries?: Readonly<Record<string, string | number>>;
	readonly values?: readonly unknown[];
	readonly defaultValue?: unknown;
	readonly shape?: Readonly<Record<string, z.ZodType>>;
}

function defOf(schema: z.ZodType): Def {
	return schema.def as Def;
}

interface Inner {
	readonly def: Def;
	readonly required: boolean;
	readonly default: unknown;
	readonly summary: string | undefined;
	readonly hint: string | undefined;
}

/** Unwraps optional, default, nullable, pipes and the like, and keeps what the wrappers said. */
function inner(schema: z.ZodType): Inner {
	const def = defOf(schema);
	const next = def.type === "pipe" ? def.in : def.innerType;
	const meta = schema.meta()?.hint;
	const hint = typeof meta === "string" ? meta : undefined;
	if (next === undefined) {
		return { def, required: true, default: undefined, summary: schema.description, hint };
	}
	const within = inner(next);
	const hasDefault = def.type === "default" || def.type === "prefault";
	return {
		def: within.def,
		required: within.required && !hasDefault && def.type !== "optional",
		default: hasDefault ? def.defaultValue : within.default,
		summary: schema.description ?? within.summary,
		hint: hint ?? within.hint,
	};
}

function flagOf(key: string, field: z.ZodType): Flag {
	const outer = inner(field);
	const repeated = outer.def.type === "array";
	const value = repeated ? inner(outer.def.element!) : outer;
	const type = valueType(value.def);
	return {
		key,
		name: kebab(key),
		type,
		hint: outer.hint ?? value.hint ?? (type === "number" ? "N" : "TEXT"),
		choices: choicesOf(value.def),
		repeated,
		required: outer.required,
		default: outer.default,
		summary: outer.summary ?? value.summary ?? "",
	};
}

function valueType(def: Def): Flag["type"] {
	switch (def.type) {
		case "boolean":
			return "boolean";
		case "number":
		case "int":
			return "number";
		case "union":
			return "scalar";
		case "literal":
		case "enum":
			return choicesAreNumbers(def) ? "number" : "string";
		default:
			return "string";
	}
}

function choices(def: Def): readonly unknown[] {
	if (def.type === "enum") return Object.values(def.entries!);
	if (def.type === "literal") return def.values!;
	if (def.type !== "union") return [];
	// A union offers choices only where each of its parts does.
	const parts = def.options!.map((option) => choices(inner(option).def));
	return parts.every((part) => part.length > 0) ? parts.flat() : [];
}

function choicesOf(def: Def): string[] {
	return choices(def).map(String);
}

function choicesAreNumbers(def: Def): boolean {
	return choices(def).every((value) => typeof value === "number");
}

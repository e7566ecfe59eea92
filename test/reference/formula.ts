/**
 * The WGSL expressions of architectures, evaluated in float64. As strict as WGSL where a slip would go unnoticed:
 * numbers and truth values don't mix, integers are refused (their division truncates), and && with || needs
 * parentheses.
 */

/** Values by name. */
export type Scope = Readonly<Record<string, number>>;

type Value = number | boolean;
type Kind = "number" | "boolean";

interface Node {
	readonly kind: Kind;
	readonly run: (scope: Scope) => Value;
}

const FUNCTIONS: Readonly<Record<string, (...values: number[]) => number>> = {
	max: (a, b) => Math.max(a!, b!),
	min: (a, b) => Math.min(a!, b!),
	pow: (a, b) => a! ** b!,
	step: (edge, x) => (x! >= edge! ? 1 : 0),
	clamp: (x, low, high) => Math.min(Math.max(x!, low!), high!),
	abs: (x) => Math.abs(x!),
	exp: (x) => Math.exp(x!),
	log: (x) => Math.log(x!),
	sqrt: (x) => Math.sqrt(x!),
	tanh: (x) => Math.tanh(x!),
	sign: (x) => Math.sign(x!),
};

const ARITHMETIC: Readonly<Record<string, (a: number, b: number) => number>> = {
	"+": (a, b) => a + b,
	"-": (a, b) => a - b,
	"*": (a, b) => a * b,
	"/": (a, b) => a / b,
};

const COMPARISONS: Readonly<Record<string, (a: number, b: number) => boolean>> = {
	"<": (a, b) => a < b,
	"<=": (a, b) => a <= b,
	">": (a, b) => a > b,
	">=": (a, b) => a >= b,
	"==": (a, b) => a === b,
	"!=": (a, b) => a !== b,
};

const TOKEN =
	/\s*(?:(?<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?f?)|(?<name>[A-Za-z_]\w*)|(?<sign>&&|\|\||[<>=!]=|[-+*/<>!(),]))/y;

interface Token {
	readonly type: "number" | "name" | "sign";
	readonly text: string;
}

function tokensOf(source: string): Token[] {
	const tokens: Token[] = [];
	const text = source.trimEnd();
	for (TOKEN.lastIndex = 0; TOKEN.lastIndex < text.length; ) {
		const at = TOKEN.lastIndex;
		const groups = TOKEN.exec(text)?.groups;
		const found = Object.entries(groups ?? {}).find(([, match]) => match !== undefined);
		if (found === undefined) throw new Error(`formula "${source}": unexpected "${text.slice(at).trim()}"`);
		tokens.push({ type: found[0] as Token["type"], text: found[1]! });
	}
	return tokens;
}

function parse(source: string): Node {
	const tokens = tokensOf(source);
	let at = 0;
	const fail = (what: string): never => {
		throw new Error(`formula "${source}": ${what}`);
	};
	const isSign = (...signs: string[]) => {
		const token = tokens[at];
		return token?.type === "sign" && signs.includes(token.text);
	};
	const takeSign = (...signs: string[]) => (isSign(...signs) ? tokens[at++]!.text : undefined);
	const expectSign = (sign: string) => takeSign(sign) ?? fail(`"${sign}" expected`);
	const need = (kind: Kind, node: Node): Node =>
		node.kind === kind ? node : fail(`a ${kind} expected, not a ${node.kind}`);
	const pair = <T extends Value>(
		kind: Kind,
		left: Node,
		right: Node,
		f: (a: T, b: T) => Value,
		of: Kind,
	): Node => {
		const [a, b] = [need(of, left).run, need(of, right).run];
		return { kind, run: (scope) => f(a(scope) as T, b(scope) as T) };
	};

	function anyOf(): Node {
		let left = comparison();
		const sign = takeSign("&&", "||");
		const f = sign === "&&" ? (a: boolean, b: boolean) => a && b : (a: boolean, b: boolean) => a || b;
		if (sign === undefined) return left;
		do left = pair("boolean", left, comparison(), f, "boolean");
		while (takeSign(sign));
		return left;
	}
	function comparison(): Node {
		const left = sum();
		const sign = takeSign(...Object.keys(COMPARISONS));
		return sign === undefined ? left : pair("boolean", left, sum(), COMPARISONS[sign]!, "number");
	}
	function chain(operand: () => Node, ...signs: string[]): Node {
		let left = operand();
		for (let sign = takeSign(...signs); sign !== undefined; sign = takeSign(...signs))
			left = pair("number", left, operand(), ARITHMETIC[sign]!, "number");
		return left;
	}
	function sum(): Node {
		return chain(() => chain(unary, "*", "/"), "+", "-");
	}
	function unary(): Node {
		if (takeSign("-")) {
			const { run } = need("number", unary());
			return { kind: "number", run: (scope) => -run(scope) };
		}
		if (takeSign("!")) {
			const { run } = need("boolean", unary());
			return { kind: "boolean", run: (scope) => !run(scope) };
		}
		return primary();
	}
	function primary(): Node {
		if (takeSign("(")) {
			const inside = anyOf();
			expectSign(")");
			return inside;
		}
		const token = tokens[at++] ?? fail("ends too early");
		if (token.type === "number") return number(token.text);
		if (token.type === "sign") return fail(`unexpected "${token.text}"`);
		return takeSign("(") ? call(token.text) : name(token.text);
	}
	function number(text: string): Node {
		if (!/[.ef]/i.test(text)) fail(`write ${text}.0, not ${text}`);
		const value = Number(text.replace(/f$/, ""));
		return { kind: "number", run: () => value };
	}
	function name(text: string): Node {
		if (text === "true" || text === "false") return { kind: "boolean", run: () => text === "true" };
		return { kind: "number", run: (scope) => scope[text] ?? fail(`nothing is called ${text}`) };
	}
	function call(called: string): Node {
		const values = [anyOf()];
		while (takeSign(",")) values.push(anyOf());
		expectSign(")");
		if (called === "select") {
			if (values.length !== 3) fail("select takes 3 values");
			const [no, yes, condition] = values as [Node, Node, Node];
			need("boolean", condition);
			need(no.kind, yes);
			return { kind: no.kind, run: (scope) => (condition.run(scope) ? yes : no).run(scope) };
		}
		const f = FUNCTIONS[called] ?? fail(`no function is called ${called}`);
		if (values.length !== f.length) fail(`${called} takes ${f.length} values`);
		const runs = values.map((value) => need("number", value).run);
		return { kind: "number", run: (scope) => f(...runs.map((run) => run(scope) as number)) };
	}

	const whole = anyOf();
	if (at < tokens.length) fail(`unexpected "${tokens[at]!.text}"`);
	return whole;
}

const parsed = new Map<string, Node>();

function compiled(source: string, kind: Kind): Node["run"] {
	const node = parsed.get(source) ?? parse(source);
	parsed.set(source, node);
	if (node.kind !== kind) throw new Error(`formula "${source}": is a ${node.kind}, not a ${kind}`);
	return node.run;
}

export function numberOf(source: string): (scope: Scope) => number {
	return compiled(source, "number") as (scope: Scope) => number;
}

export function truthOf(source: string): (scope: Scope) => boolean {
	return compiled(source, "boolean") as (scope: Scope) => boolean;
}

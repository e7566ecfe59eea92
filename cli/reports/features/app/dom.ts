/** Elements, made of attributes and children. Text stays text: nothing here parses markup. */

export type Child = Node | string | number | false | undefined;

type Attributes = Readonly<Record<string, string | number | boolean | undefined | ((event: never) => void)>>;

/** An HTML element. Attributes that are functions are listeners, e.g. `onclick`; false and undefined are left out. */
export function h<K extends keyof HTMLElementTagNameMap>(
	tag: K,
	attributes: Attributes = {},
	...children: readonly (Child | readonly Child[])[]
): HTMLElementTagNameMap[K] {
	return fill(document.createElement(tag), attributes, children);
}

/** As {@link h}, for SVG. */
export function svg<K extends keyof SVGElementTagNameMap>(
	tag: K,
	attributes: Attributes = {},
	...children: readonly (Child | readonly Child[])[]
): SVGElementTagNameMap[K] {
	return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill<E extends Element>(
	element: E,
	attributes: Attributes,
	children: readonly (Child | readonly Child[])[],
): E {
	for (const [name, value] of Object.entries(attributes)) {
		if (value === undefined || value === false) continue;
		if (typeof value === "function") element.addEventListener(name.slice(2), value as EventListener);
		else element.setAttribute(name, value === true ? "" : String(value));
	}
	for (const child of children.flat()) {
		if (child === false || child === undefined) continue;
		element.append(child instanceof Node ? child : String(child));
	}
	return element;
}

/** Which examples are of which class. */
import type { Core } from "saeflow";
import type { Example } from "./examples.ts";

/** Of one class, fewer could not be parted into examples to learn from and to test on. */
const LEAST_EXAMPLES = 5;
const MOST_CLASSES = 256;

/** Numbers of the examples of each class, in the order of the classes' names. @throws SaeError for what can't be told apart. */
export function classesOf(
	{ SaeError }: Core,
	examples: readonly Example[],
	column: string,
): Map<string, number[]> {
	const classes = new Map<string, number[]>();
	for (const [i, { label }] of examples.entries()) {
		if (!classes.has(label)) classes.set(label, []);
		classes.get(label)!.push(i);
	}
	if (classes.size < 2) {
		throw new SaeError(
			`column ${column}: all ${examples.length} examples have the label ${examples[0]?.label}`,
		);
	}
	if (classes.size > MOST_CLASSES) {
		throw new SaeError(
			`column ${column}: has ${classes.size} labels, more than ${MOST_CLASSES}; is it the right one?`,
		);
	}
	for (const [label, members] of classes) {
		if (members.length >= LEAST_EXAMPLES) continue;
		throw new SaeError(
			`column ${column}: the label ${label} has ${members.length} examples; each needs ${LEAST_EXAMPLES}`,
		);
	}
	return new Map([...classes].sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true })));
}

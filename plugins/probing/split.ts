/** Which examples a probe learns from and which it is tested on. */
import type { Core, CounterRng } from "saeflow";

/** Numbers of examples. */
export interface Split {
	readonly train: readonly number[];
	readonly test: readonly number[];
}

/** Examples that a probe for one class sees, half of them of that class. */
export interface Binary {
	readonly rows: readonly number[];
	readonly labels: readonly number[];
}

/** Parts each class by itself, in an order that the seed gives; at least one of each class is for testing. */
export function splitClasses(
	{ permutation }: Core,
	classes: ReadonlyMap<string, readonly number[]>,
	testShare: number,
	random: CounterRng,
): Map<string, Split> {
	return new Map(
		[...classes].map(([label, members], i) => {
			const order = [...permutation(random.derive(i), members.length)].map((j) => members[j]!);
			const tests = Math.max(1, Math.round(testShare * members.length));
			return [label, { train: order.slice(tests), test: order.slice(0, tests) }] as const;
		}),
	);
}

/** All of one class against as many of the others, as equally from each as can be; the larger side is cut. */
export function oneAgainstRest(
	{ permutation }: Core,
	classes: ReadonlyMap<string, readonly number[]>,
	label: string,
	random: CounterRng,
): Binary {
	const positives = classes.get(label)!;
	const others = [...classes].filter(([other]) => other !== label);
	const each = Math.ceil(positives.length / others.length);
	const drawn = others.flatMap(([, members]) => members.slice(0, each));
	const order = permutation(random, drawn.length);
	const size = Math.min(positives.length, drawn.length);
	const negatives = Array.from({ length: size }, (_, i) => drawn[order[i]!]!);
	return {
		rows: [...positives.slice(0, size), ...negatives],
		labels: [...new Array<number>(size).fill(1), ...new Array<number>(size).fill(0)],
	};
}

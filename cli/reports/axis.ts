/** Logarithmic axes: where a value lies, and which values are named. */

export interface Axis {
	/** Place of a value between 0 and 1. */
	at(value: number): number;
	/** Values at which a line is drawn and a number stands, ascending. */
	readonly ticks: readonly number[];
}

/** What a logarithmic axis adds to each end, as a share of its length. */
const MARGIN = 0.06;

/** An axis that has room for all values, which are positive. */
export function logAxis(values: readonly number[], most: number): Axis {
	const [low, high] = [Math.log(Math.min(...values)), Math.log(Math.max(...values))];
	// A single value has a quarter of an octave about it.
	const room = Math.max((high - low) * MARGIN, high === low ? Math.LN2 / 4 : 0);
	const [from, to] = [low - room, high + room];
	return {
		at: (value) => (Math.log(value) - from) / (to - from),
		ticks: logTicks(Math.exp(from), Math.exp(to), most),
	};
}

/** Sets of numbers within a decade that look round, the coarser first. */
const ROUND = [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 5, 7], [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9]];

/** Fewer than this many named values say too little about an axis. */
const FEWEST = 4;

/** At most `most` round numbers from `low` to `high`: as many as look round on a logarithmic axis. */
export function logTicks(low: number, high: number, most: number): number[] {
	const choices = [...ROUND.map((set) => withinDecades(low, high, set)), evenTicks(low, high, most)];
	const fitting = choices.filter((ticks) => ticks.length <= most);
	return fitting.slice(0, -1).findLast((ticks) => ticks.length >= FEWEST) ?? fitting.at(-1)!;
}

function withinDecades(low: number, high: number, set: readonly number[]): number[] {
	const first = Math.floor(Math.log10(low));
	const last = Math.floor(Math.log10(high));
	const decades = Array.from({ length: last - first + 1 }, (_, i) => first + i);
	return decades
		.flatMap((decade) => set.map((value) => Number(`${value}e${decade}`)))
		.filter((value) => value >= low && value <= high);
}

/** Multiples of a round step, for ranges too short for decades to matter. */
function evenTicks(low: number, high: number, most: number): number[] {
	const decade = Math.floor(Math.log10((high - low) / most));
	const steps = [1, 2, 5, 10, 20].map((step) => Number(`${step}e${decade}`));
	const step = steps.find((step) => Math.floor(high / step) - Math.ceil(low / step) < most)!;
	const [first, last] = [Math.ceil(low / step), Math.floor(high / step)];
	return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

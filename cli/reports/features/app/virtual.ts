/** Which rows of a long list are on the screen, and where. Pure numbers, in pixels. */

/** Browsers lose track of places in elements that are much taller. */
export const TALLEST = 8_000_000;

/** Rows above and below the screen that are there already. */
const AHEAD = 6;

export interface View {
	/** Height of the whole list. */
	readonly height: number;
	/** Rows to show, from `first` up to `end`. */
	readonly first: number;
	readonly end: number;
	/** Where the row `first` begins. */
	readonly top: number;
}

/** `scrolled`: how far the list of `count` rows is scrolled in a window of height `seen`. */
export function viewOf(count: number, rowHeight: number, seen: number, scrolled: number): View {
	const full = count * rowHeight;
	const height = Math.min(full, TALLEST);
	const place = placeOf(full, height, seen, scrolled);
	const first = Math.max(0, Math.floor(place / rowHeight) - AHEAD);
	const end = Math.min(count, Math.ceil((place + seen) / rowHeight) + AHEAD);
	return { height, first, end, top: scrolled + first * rowHeight - place };
}

/** How far to scroll so that a row is seen whole; where it is already, as far as now. */
export function scrollTo(
	row: number,
	count: number,
	rowHeight: number,
	seen: number,
	scrolled: number,
): number {
	const full = count * rowHeight;
	const height = Math.min(full, TALLEST);
	const place = placeOf(full, height, seen, scrolled);
	const begin = row * rowHeight;
	const wanted = begin < place ? begin : Math.max(place, begin + rowHeight - seen);
	if (wanted === place) return scrolled;
	return full === height || full <= seen ? wanted : (wanted / (full - seen)) * (height - seen);
}

/** Where in the full list the window begins: lists that are too tall are scrolled faster than they move. */
function placeOf(full: number, height: number, seen: number, scrolled: number): number {
	if (full === height || height <= seen) return scrolled;
	return (scrolled / (height - seen)) * (full - seen);
}

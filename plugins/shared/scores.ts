/** How well answers of yes and no agree with the truth. */

/** Answers by what is true; `failed` ones could not be read. */
export interface Judgements {
	readonly truth: readonly boolean[];
	/** Undefined where an answer could not be read. */
	readonly answers: readonly (boolean | undefined)[];
}

/** Figures of {@link scoresOf}, in the order of columns. */
export const SCORES = [
	"accuracy",
	"balanced_accuracy",
	"precision",
	"recall",
	"f1",
	"judged",
	"failed",
] as const;

export type Scores = Readonly<Record<(typeof SCORES)[number], number | null>>;

/** Null where nothing is to be divided by. All but `failed` are over the answers that could be read. */
export function scoresOf({ truth, answers }: Judgements): Scores {
	const counts = { tp: 0, fp: 0, tn: 0, fn: 0 };
	let failed = 0;
	for (const [i, answer] of answers.entries()) {
		if (answer === undefined) failed++;
		else if (truth[i]) counts[answer ? "tp" : "fn"]++;
		else counts[answer ? "fp" : "tn"]++;
	}
	const { tp, fp, tn, fn } = counts;
	const recall = ratio(tp, tp + fn);
	const specificity = ratio(tn, tn + fp);
	return {
		accuracy: ratio(tp + tn, tp + tn + fp + fn),
		balanced_accuracy: recall === null || specificity === null ? null : (recall + specificity) / 2,
		precision: ratio(tp, tp + fp),
		recall,
		f1: ratio(2 * tp, 2 * tp + fp + fn),
		judged: tp + tn + fp + fn,
		failed,
	};
}

export function ratio(part: number, whole: number): number | null {
	return whole > 0 ? part / whole : null;
}

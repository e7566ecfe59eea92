/** How training goes: a line for people, and how fast it is. */
import type { TrainMetrics } from "saeflow";

export function progressLine(metrics: TrainMetrics, steps: number | undefined, several: boolean): string {
	const { step, tokens, fvu, l0, dead, rate, loss, eval_fvu } = metrics;
	const share = steps === undefined ? "" : ` ${Math.floor((100 * step) / steps)}%`;
	const left = steps === undefined ? "" : `, ${duration(((steps - step) * tokens) / step / rate)} left`;
	const parts = [
		`${several ? `${metrics.sae}: ` : ""}step ${step}${share}`,
		`loss ${loss.toPrecision(4)}`,
		...(fvu === null ? [] : [`fvu ${fvu.toFixed(4)}`]),
		...(eval_fvu === null ? [] : [`held-out fvu ${eval_fvu.toFixed(4)}`]),
		`l0 ${l0.toFixed(1)}`,
		`dead ${(100 * dead).toFixed(1)}%`,
		`${quantity(rate)} rows/s${left}`,
	];
	return parts.join("  ");
}

function quantity(value: number): string {
	if (value >= 1e6) return `${(value / 1e6).toFixed(2)}M`;
	if (value >= 1e3) return `${(value / 1e3).toFixed(1)}k`;
	return value.toFixed(0);
}

function duration(seconds: number): string {
	if (!Number.isFinite(seconds)) return "?";
	const whole = Math.max(0, Math.round(seconds));
	const hours = Math.floor(whole / 3600);
	const minutes = Math.floor((whole % 3600) / 60);
	if (hours > 0) return `${hours}h ${minutes}m`;
	return minutes > 0 ? `${minutes}m ${whole % 60}s` : `${whole}s`;
}

/** Measures how fast steps pass. */
export class Meter {
	readonly #start = performance.now();
	#lastTime = this.#start;
	#lastStep: number;

	constructor(firstStep: number) {
		this.#lastStep = firstStep;
	}

	/** Steps per second since the last call with an earlier step. */
	rate(step: number): number {
		const now = performance.now();
		const rate = ((step - this.#lastStep) / (now - this.#lastTime)) * 1000;
		this.#lastTime = now;
		this.#lastStep = step;
		return rate;
	}

	seconds(): number {
		return (performance.now() - this.#start) / 1000;
	}
}

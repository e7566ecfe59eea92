/** Interventions on latents: codes with some of them ablated, clamped, scaled or added to. */
import { usageError } from "../errors.ts";
import type { Codes } from "../sae.ts";

export interface LatentEdit {
	readonly latent: number;
	/** ablate: 0. clamp: `value`. scale: times `value`. add: plus `value`. Any sign. */
	readonly kind: "ablate" | "clamp" | "scale" | "add";
	readonly value: number;
	/** Positions of a context at which it is done; all unless given. */
	readonly positions?: ((position: number) => boolean) | undefined;
	/** Only where the latent is active already. */
	readonly activeOnly?: boolean;
}

/** The codes after the edits, which are done in order. `positions`: of each row in its context. */
export function editCodes(codes: Codes, edits: readonly LatentEdit[], positions: ArrayLike<number>): Codes {
	const latents = [...new Set(edits.map(({ latent }) => latent))].sort((a, b) => a - b);
	const offsets = new Uint32Array(codes.rows + 1);
	const index = new Uint32Array(codes.index.length + codes.rows * latents.length);
	const value = new Float32Array(index.length);
	let end = 0;
	const put = (latent: number, number: number) => {
		index[end] = latent;
		value[end++] = number;
	};
	for (let row = 0; row < codes.rows; row++) {
		let next = 0;
		/** Edited latents below `limit` that were not active. */
		const putUntil = (limit: number) => {
			for (; next < latents.length && latents[next]! < limit; next++) {
				const edited = editOne(0, latents[next]!, edits, positions[row]!);
				if (edited !== 0) put(latents[next]!, edited);
			}
		};
		for (let entry = codes.offsets[row]!; entry < codes.offsets[row + 1]!; entry++) {
			const latent = codes.index[entry]!;
			putUntil(latent);
			if (latents[next] !== latent) put(latent, codes.value[entry]!);
			else {
				next++;
				const edited = editOne(codes.value[entry]!, latent, edits, positions[row]!);
				if (edited !== 0) put(latent, edited);
			}
		}
		putUntil(Number.POSITIVE_INFINITY);
		offsets[row + 1] = end;
	}
	return { rows: codes.rows, offsets, index: index.slice(0, end), value: value.slice(0, end) };
}

function editOne(before: number, latent: number, edits: readonly LatentEdit[], position: number): number {
	let value = before;
	for (const edit of edits) {
		if (edit.latent !== latent || (edit.positions && !edit.positions(position))) continue;
		if (edit.activeOnly && before === 0) continue;
		if (edit.kind === "ablate") value = 0;
		else if (edit.kind === "clamp") value = edit.value;
		else if (edit.kind === "scale") value *= edit.value;
		else value += edit.value;
	}
	return value;
}

/** An edit, and which of several SAEs it is for. */
export interface GivenEdit extends LatentEdit {
	readonly sae: number;
}

const EDIT = /^(?:(\d+):)?(\d+)(?:=([^@]+))?(?:@(.+))?$/;

/**
 * Reads `[SAE:]LATENT[=VALUE][@POSITIONS]`: SAEs are numbered from 0 as they were given; positions are numbers and
 * ranges such as `3,8-12,20-`.
 *
 * @throws a usage error for what is not of that form.
 */
export function parseEdit(kind: LatentEdit["kind"], text: string, activeOnly = false): GivenEdit {
	const [whole, sae = "0", latent, amount, positions] = EDIT.exec(text.trim()) ?? [];
	const value = amount === undefined ? Number.NaN : Number(amount);
	const complete = kind === "ablate" ? amount === undefined : Number.isFinite(value) && amount!.trim() !== "";
	if (whole === undefined || !complete) {
		const [form, example] = kind === "ablate" ? ["LATENT", "17"] : ["LATENT=VALUE", "17=-4.5"];
		throw usageError(
			`--${kind} ${text}: write ${form}, e.g. --${kind} ${example}, or ${example}@3,8-12 for some positions`,
		);
	}
	return {
		sae: Number(sae),
		latent: Number(latent),
		kind,
		value: kind === "ablate" ? 0 : value,
		activeOnly,
		positions: positions === undefined ? undefined : parsePositions(positions, `--${kind} ${text}`),
	};
}

function parsePositions(text: string, where: string): (position: number) => boolean {
	const ranges = text.split(",").map((part) => {
		const [whole, first, dash, last] = /^(\d+)(-)?(\d+)?$/.exec(part.trim()) ?? [];
		if (whole === undefined || (last !== undefined && Number(last) < Number(first))) {
			throw usageError(`${where}: positions are numbers and ranges, such as 3,8-12,20-`);
		}
		const end = last !== undefined ? Number(last) : dash ? Number.POSITIVE_INFINITY : Number(first);
		return [Number(first), end] as const;
	});
	return (position) => ranges.some(([first, last]) => position >= first && position <= last);
}

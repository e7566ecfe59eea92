/** Interventions on codes, by hand. */
import { describe, expect, test } from "bun:test";
import { editCodes, parseEdit } from "../../../core/model/edits.ts";
import type { Codes } from "../../../core/sae.ts";

const CODES: Codes = {
	rows: 3,
	offsets: Uint32Array.of(0, 2, 2, 4),
	index: Uint32Array.of(1, 4, 0, 4),
	value: Float32Array.of(10, 20, 30, 40),
};
const POSITIONS = [0, 1, 2];

/** Rows as [latent, value] pairs. */
function rowsOf({ rows, offsets, index, value }: Codes): [number, number][][] {
	return Array.from({ length: rows }, (_, row) =>
		[...index.subarray(offsets[row], offsets[row + 1])].map((latent, i) => [
			latent,
			value[offsets[row]! + i]!,
		]),
	);
}

const edited = (...edits: Parameters<typeof parseEdit>[]) =>
	rowsOf(
		editCodes(
			CODES,
			edits.map((edit) => parseEdit(...edit)),
			POSITIONS,
		),
	);

describe("latents are", () => {
	test("ablated", () => {
		expect(edited(["ablate", "4"])).toEqual([[[1, 10]], [], [[0, 30]]]);
	});

	test("clamped wherever they are, in order of their numbers", () => {
		expect(edited(["clamp", "2=-7"])).toEqual([
			[
				[1, 10],
				[2, -7],
				[4, 20],
			],
			[[2, -7]],
			[
				[0, 30],
				[2, -7],
				[4, 40],
			],
		]);
	});

	test("clamped where they are active", () => {
		expect(edited(["clamp", "4=-1", true])).toEqual([
			[
				[1, 10],
				[4, -1],
			],
			[],
			[
				[0, 30],
				[4, -1],
			],
		]);
	});

	test("scaled by negative numbers, and added to, one after the other", () => {
		expect(edited(["scale", "4=-2"], ["add", "4=5"])).toEqual([
			[
				[1, 10],
				[4, -35],
			],
			[[4, 5]],
			[
				[0, 30],
				[4, -75],
			],
		]);
	});

	test("changed at some positions alone", () => {
		expect(edited(["add", "4=1@1-"])).toEqual([
			[
				[1, 10],
				[4, 20],
			],
			[[4, 1]],
			[
				[0, 30],
				[4, 41],
			],
		]);
		expect(edited(["ablate", "4@0,5-9"])[0]).toEqual([[1, 10]]);
		expect(edited(["ablate", "4@0,5-9"])[2]).toHaveLength(2);
	});
});

test("an edit says which SAE it is for", () => {
	expect(parseEdit("clamp", "1:17=2.5e1")).toMatchObject({ sae: 1, latent: 17, value: 25 });
	expect(parseEdit("ablate", "17")).toMatchObject({ sae: 0, latent: 17 });
});

test.each([
	["clamp", "17", "write LATENT=VALUE"],
	["add", "17@3=2", "or 17=-4.5@3,8-12 for some positions"],
	["ablate", "17=3", "write LATENT, "],
	["scale", "a=3", "write LATENT=VALUE"],
	["add", "3=x", "write LATENT=VALUE"],
	["add", "3=1@", "write LATENT=VALUE"],
	["ablate", "3@5-2", "positions are numbers and ranges"],
	["ablate", "3@x", "positions are numbers and ranges"],
] as const)("--%s %s is refused", (kind, text, message) => {
	expect(() => parseEdit(kind, text)).toThrow(message);
});

import { expect, test } from "bun:test";
import { agglomerate, amad, diameter } from "../../../plugins/layer-distance/groups.ts";

/** Distances of points on a line. */
const line = (...places: number[]) => places.map((a) => places.map((b) => Math.abs(a - b)));

test("joins the nearest, by the farthest two of a group", () => {
	// By single linkage 2 would go to 0 and 1, whose farthest point is 3.2 away.
	const distances = line(0, 1, 3.2, 5.2);
	expect(agglomerate(distances, false)).toEqual([
		[[0], [1], [2], [3]],
		[[0, 1], [2], [3]],
		[
			[0, 1],
			[2, 3],
		],
		[[0, 1, 2, 3]],
	]);
	expect(diameter([0, 1, 2], distances)).toBe(3.2);
	expect(
		amad(
			[
				[0, 1],
				[2, 3],
			],
			distances,
		),
	).toBe(1.5);
	expect(amad([[0], [1]], distances)).toBe(0);
});

test("joins only neighbours where that is asked for", () => {
	const distances = line(0, 9, 1, 10);
	expect(agglomerate(distances, false)[2]).toEqual([
		[0, 2],
		[1, 3],
	]);
	expect(agglomerate(distances, true).slice(1)).toEqual([
		[[0], [1, 2], [3]],
		[[0, 1, 2], [3]],
		[[0, 1, 2, 3]],
	]);
});

test("the first ones go first where several are as near", () => {
	expect(agglomerate(line(0, 1, 2), false)[1]).toEqual([[0, 1], [2]]);
	expect(agglomerate([[0]], false)).toEqual([[[0]]]);
});

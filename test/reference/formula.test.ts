import { expect, test } from "bun:test";
import { numberOf, truthOf } from "./formula.ts";

const scope = { z: 0.5, b_enc: -2, p: 3 };

test.each([
	["1.0 - 2.0 - 3.0", -4],
	["8.0 / 2.0 / 2.0 * 3.0", 6],
	["-z * -(z - 1.0)", -0.25],
	["1.5e1 + .5 + 2f", 17.5],
	["pow(p, 2.0) - max(z, b_enc) + min(z, b_enc)", 6.5],
	["select(1.0, 2.0, z > 0.0)", 2],
	["select(1.0, 2.0, z < 0.0 || !(b_enc < 0.0))", 1],
	["step(z, 0.5) + sign(b_enc) + abs(b_enc)", 2],
	["log(exp(z)) + sqrt(4.0) + tanh(0.0)", 2.5],
	["clamp(p, 0.0, 1.0)", 1],
])("%s is %p", (source, value) => {
	expect(numberOf(source)(scope)).toBeCloseTo(value, 12);
});

test.each([
	["z > 0.0 && b_enc <= -2.0 && p != 2.0", true],
	["(z > 1.0 || p == 3.0) && true", true],
	["!(z >= 0.5)", false],
])("%s is %p", (source, value) => {
	expect(truthOf(source)(scope)).toBe(value);
});

test.each([
	["1 / 2", "write 1.0"],
	["z > 0.0 && z > 1.0 || z > 2.0", 'unexpected "||"'],
	["0.0 < z < 1.0", 'unexpected "<"'],
	["z + (z > 0.0)", "a number expected"],
	["max(z)", "max takes 2"],
	["sin(z)", "no function is called sin"],
	["q + 1.0", "nothing is called q"],
	["z ^ 2.0", 'unexpected "^ 2.0"'],
	["(z", '")" expected'],
	["z +", "ends too early"],
	["z > 0.0", "is a boolean, not a number"],
])("%s is refused", (source, message) => {
	expect(() => numberOf(source)(scope)).toThrow(message);
});

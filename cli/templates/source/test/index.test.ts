import { test } from "bun:test";
import { checkPackage, checkSource } from "saeflow/conformance";
import plugin from "../src/index.ts";

test("package.json lists what the plugin contributes", () => checkPackage(`${import.meta.dir}/..`));

test("NAME gives the same rows every time, from any row on", () =>
	checkSource(plugin, { options: { rows: 2500, d_in: 3 }, rows: 3000 }));

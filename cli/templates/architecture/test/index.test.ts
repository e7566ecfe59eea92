import { test } from "bun:test";
import { checkArchitecture, checkPackage } from "saeflow/conformance";
import plugin from "../src/index.ts";

test("package.json lists what the plugin contributes", () => checkPackage(`${import.meta.dir}/..`));

test("NAME describes itself soundly, trains, and runs after saving", () =>
	checkArchitecture(plugin, { options: { k: 4 } }));

import { test } from "bun:test";
import { checkEvaluator, checkPackage } from "saeflow/conformance";
import plugin from "../src/index.ts";

test("package.json lists what the plugin contributes", () => checkPackage(`${import.meta.dir}/..`));

test("NAME gives finite figures, the same ones every time", () => checkEvaluator(plugin));

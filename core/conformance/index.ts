/**
 * @module saeflow/conformance
 * Suites for the tests of plugins: a function for every kind of plugin, which resolves when the plugin keeps the
 * promises of its interface and throws an Error that says which one it breaks. Any test runner can call them.
 */
export { type ArchitectureSubject, checkArchitecture } from "./architecture.ts";
export { checkEvaluator, type EvaluatorSubject } from "./evaluator.ts";
export { checkExporter, checkImporter, type ExporterSubject, type ImporterSubject } from "./files.ts";
export { checkInterpreter, type InterpreterSubject } from "./interpreter.ts";
export { checkPackage } from "./package.ts";
export { checkSource, type SourceSubject } from "./source.ts";
export { checkTrainer, type TrainerSubject } from "./trainer.ts";

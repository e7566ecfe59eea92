/** Writes the program of the page of features, which a compiled `sae` carries as a file: page-program.ts FILE. */
import { pageProgram } from "../cli/reports/features/bundle.ts";

await Bun.write(process.argv[2]!, await pageProgram());

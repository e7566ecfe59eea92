/** `sae plugins`: the other name of `sae plugin`. */
import { pluginVerb } from "./plugin.ts";

export default pluginVerb("plugins");

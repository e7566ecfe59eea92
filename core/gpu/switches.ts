/** Environment variables that are on unless they are off. */
import { usageError } from "../errors.ts";

/** @throws a usage error for a value that is neither. */
export function isOn(name: string): boolean {
	const value = process.env[name];
	if (value === undefined || value === "" || value === "on") return true;
	if (value === "off") return false;
	throw usageError(`${name}=${value}: must be on or off`);
}

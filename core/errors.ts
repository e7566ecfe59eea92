/**
 * Errors that a person can act on. Every failure that a command expects is a {@link SaeError}: one line that
 * says what is wrong, where, and what to do. Anything else that reaches the top is a defect of ours.
 */

/** Exit codes of `sae`, the same for every command. */
export const EXIT = {
	ok: 0,
	/** A defect: an error that nobody foresaw. */
	internal: 1,
	/** The command line or the configuration is wrong. */
	usage: 2,
	/** A file or stream is missing, damaged or of the wrong kind. */
	data: 3,
	/** No usable GPU, out of device memory, or the device was lost. */
	device: 4,
	/** Training stopped because the loss was no longer finite. */
	diverged: 5,
	/** Stopped by SIGINT or SIGTERM after saving. */
	interrupted: 130,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** A foreseen failure. `message` is one line for the user; `exitCode` is what the process ends with. */
export class SaeError extends Error {
	readonly exitCode: ExitCode;

	constructor(message: string, exitCode: ExitCode = EXIT.data, options?: ErrorOptions) {
		super(message, options);
		this.name = "SaeError";
		this.exitCode = exitCode;
	}
}

/** Shorthand for a failure of the command line or configuration. */
export function usageError(message: string): SaeError {
	return new SaeError(message, EXIT.usage);
}

/** Tests by name, since a plugin may carry a second copy of this class. */
export function isSaeError(error: unknown): error is SaeError {
	return error instanceof Error && error.name === "SaeError";
}

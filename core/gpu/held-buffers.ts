/**
 * bun-webgpu packs a descriptor into buffers that point at each other by address, which the garbage collector does
 * not see: one that runs before Dawn has read them frees them, and Dawn reads whatever comes next. Until that is
 * repaired there, the buffers that a call makes are held here until it returns.
 */

/** `call`, with every ArrayBuffer that it makes held until it returns. Not for calls that wait. */
export function holdingBuffers<Arguments extends unknown[], Result>(
	call: (...given: Arguments) => Result,
): (...given: Arguments) => Result {
	return (...given) => {
		const { ArrayBuffer: Plain, TextEncoder } = globalThis;
		const { encode } = TextEncoder.prototype;
		const held: unknown[] = [];
		const hold = <T>(made: T): T => {
			held.push(made);
			return made;
		};
		// A proxy, so that `instanceof` still knows buffers that others made.
		globalThis.ArrayBuffer = new Proxy(Plain, {
			construct: (target, [length]) => hold(new target(length)),
		});
		TextEncoder.prototype.encode = function (text) {
			return hold(encode.call(this, text));
		};
		try {
			return call(...given);
		} finally {
			globalThis.ArrayBuffer = Plain;
			TextEncoder.prototype.encode = encode;
			held.length = 0;
		}
	};
}

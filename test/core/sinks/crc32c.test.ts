import { expect, test } from "bun:test";
import { crc32c, maskedCrc32c } from "../../../core/sinks/crc32c.ts";

const ascii = (text: string) => new TextEncoder().encode(text);

test("gives the published check values", () => {
	// RFC 3720, appendix B.4, and the catalogue's check value.
	expect(crc32c(ascii("123456789"))).toBe(0xe3069283);
	expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
	expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
	expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e);
	expect(crc32c(new Uint8Array())).toBe(0);
});

test("masks by rotating 15 bits and adding a constant, without sign", () => {
	const rotated = ((0xe3069283 >>> 15) | (0xe3069283 << 17)) >>> 0;
	expect(maskedCrc32c(ascii("123456789"))).toBe((rotated + 0xa282ead8) % 2 ** 32);
});

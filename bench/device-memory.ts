/** Bytes in use on all NVIDIA devices together; nothing where nvidia-smi is not there or doesn't say. */
export function usedMemory(): number | undefined {
	if (!Bun.which("nvidia-smi")) return undefined;
	const query = ["--query-gpu=memory.used", "--format=csv,noheader,nounits"];
	const { stdout, success } = Bun.spawnSync(["nvidia-smi", ...query]);
	if (!success) return undefined;
	const mebibytes = stdout
		.toString()
		.trim()
		.split("\n")
		.reduce((sum, line) => sum + Number.parseFloat(line), 0);
	return Number.isFinite(mebibytes) ? mebibytes * 2 ** 20 : undefined;
}

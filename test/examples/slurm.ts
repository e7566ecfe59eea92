/** A Slurm of one node, with a key, ports and folders of its own, where its programs are installed. */
import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { hostname } from "node:os";
import { join } from "node:path";

const PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch"];

export const hasSlurm = PROGRAMS.every((name) => Bun.which(name, { PATH: `${process.env.PATH}:/usr/sbin` }));

export interface Slurm {
	/** To be set for its commands. */
	readonly env: Readonly<Record<string, string>>;
	stop(): Promise<void>;
}

/** Starts it with its files in `folder`; commands wait until it answers. */
export async function startSlurm(folder: string): Promise<Slurm> {
	const host = hostname().split(".")[0]!;
	const at = (name: string) => join(folder, name);
	for (const name of ["state", "spool"]) await mkdir(at(name));
	await writeFile(at("key"), crypto.getRandomValues(new Uint8Array(1024)), { mode: 0o600 });
	const settings = {
		ClusterName: "one",
		SlurmctldHost: `${host}(127.0.0.1)`,
		SlurmUser: process.getuid!(),
		SlurmctldPort: await freePort(),
		SlurmdPort: await freePort(),
		AuthInfo: `socket=${at("socket")}`,
		ProctrackType: "proctrack/linuxproc",
		TaskPlugin: "task/none",
		MpiDefault: "none",
		StateSaveLocation: at("state"),
		SlurmdSpoolDir: at("spool"),
		SlurmctldPidFile: at("slurmctld.pid"),
		SlurmdPidFile: at("slurmd.pid"),
		ReturnToService: 2,
	};
	const lines = Object.entries(settings).map(([key, value]) => `${key}=${value}`);
	lines.push(`NodeName=${host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000`);
	lines.push(`PartitionName=all Nodes=${host} Default=YES`);
	await writeFile(at("slurm.conf"), `${lines.join("\n")}\n`);
	const env = { SLURM_CONF: at("slurm.conf"), PATH: `${process.env.PATH}:/usr/sbin` };
	const start = (...cmd: string[]) =>
		Bun.spawn({ cmd, env: { ...process.env, ...env }, stdin: "ignore", stdout: "ignore", stderr: "ignore" });
	const files = ["key", "socket", "pid", "log", "seed"].map(
		(name) => `--${name === "socket" ? name : `${name}-file`}=${at(name)}`,
	);
	const munged = start("munged", "--force", "--foreground", ...files);
	const daemons = [munged];
	while (!(await Bun.file(at("pid")).exists())) {
		if (munged.exitCode !== null) throw new Error(`munged ended with ${munged.exitCode}`);
		await Bun.sleep(20);
	}
	daemons.push(start("slurmctld", "-D", "-c"), start("slurmd", "-D"));
	return {
		env,
		async stop() {
			for (const daemon of daemons.reverse()) {
				daemon.kill();
				await daemon.exited;
			}
		},
	};
}

function freePort(): Promise<number> {
	return new Promise((resolve) => {
		const server = createServer().listen(0, "127.0.0.1", () => {
			const { port } = server.address() as { port: number };
			server.close(() => resolve(port));
		});
	});
}

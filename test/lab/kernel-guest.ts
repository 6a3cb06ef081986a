import { copyFile, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { emulatedMachine } from "./emulated-machine.ts";
import { type GuestRecipe, prepareGuestImage } from "./guest-image.ts";
import { appendProgramArchive } from "./program-archive.ts";
import { TrackedProcess } from "./tracked-process.ts";

/** How a program of this repository ended on another kernel. */
export interface KernelGuestRun {
  /** What it wrote to stdout, line by line. */
  readonly lines: readonly string[];
  /** Undefined where the program was not at its end: the kernel or QEMU gave up, or the time was over. */
  readonly exitStatus: number | undefined;
  /** The program's stderr, and what the kernel and QEMU complained of. */
  readonly console: string;
}

/** What a program may run besides itself. */
const SYSTEM_PROGRAMS = ["ip", "bridge"];
/** Two copies of the initrd, 140 MB each, until it is unpacked, and Node. */
const MEMORY_MIB = 768;
const EXIT = /^exit (\d+)$/;

const KERNEL_GUEST: GuestRecipe = {
  modules: ["llc", "stp", "bridge", "tun", "veth"],
  script: `export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
$bb mkdir -p /run /tmp
$bb stty -F /dev/ttyS1 raw
$node $program > /dev/ttyS1
echo "exit $?" > /dev/ttyS1
$bb poweroff -f
`,
};

/**
 * Runs a compiled program, named by its path in the repository, as root on Debian's cloud kernel, in a QEMU that ends with
 * it, or after `timeoutMs`. That kernel has bridges that can filter VLANs, taps, veths and network namespaces, whatever this
 * machine's has. No QEMU and no file is left.
 */
export async function runOnDebianKernel(program: string, timeoutMs: number): Promise<KernelGuestRun> {
  const { kernelPath, initrdPath } = await prepareGuestImage(KERNEL_GUEST);
  const directory = await mkdtemp(join(tmpdir(), "switchover-kernel-guest-"));
  try {
    const image = { kernelPath, initrdPath: join(directory, "initrd") };
    await copyFile(initrdPath, image.initrdPath);
    await appendProgramArchive(image.initrdPath, SYSTEM_PROGRAMS);
    const consolePath = join(directory, "console");
    const qemu = TrackedProcess.start([], "qemu-system-x86_64", [
      ...emulatedMachine({
        name: "kernel-guest",
        image,
        memoryMib: MEMORY_MIB,
        kernelParameters: [`node=${process.execPath}`, `program=${program}`],
      }),
      ...["-serial", `file:${consolePath}`, "-serial", "stdio"],
    ]);
    const lines: string[] = [];
    qemu.onLine((line) => lines.push(line));
    // What it has told by then counts, also where the time is over.
    await qemu.waitForExit(timeoutMs).catch(() => {});
    const { stderr } = await qemu.kill();
    const said = await readFile(consolePath, "utf8").catch(() => "");
    return { ...statusOf(lines), console: `${said}${stderr}` };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function statusOf(lines: readonly string[]): Pick<KernelGuestRun, "lines" | "exitStatus"> {
  const status = EXIT.exec(lines.at(-1) ?? "")?.[1];
  return status === undefined
    ? { lines, exitStatus: undefined }
    : { lines: lines.slice(0, -1), exitStatus: Number(status) };
}

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { access, chmod, copyFile, mkdir, mkdtemp, readdir, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { SwitchoverError } from "../../proto/error.ts";
import { runCommand } from "./command.ts";
import { GUEST_INIT, GUEST_MODULES } from "./guest-init.ts";

/** A kernel and an initrd that QEMU boots with `-kernel` and `-initrd`. */
export interface GuestImage {
  readonly kernelPath: string;
  readonly initrdPath: string;
  /** The Debian kernel's release and the recipe's hash: two guests migrate only between equal ones. */
  readonly key: string;
}

const BUSYBOX = "/usr/bin/busybox";
/** Counts changes of how the image is put together that the recipe's text does not show. */
const RECIPE_VERSION = 1;

/**
 * Returns the lab's guest, building it on first use from Debian's cloud kernel package and busybox-static.
 * Needs the package lists of apt; downloads 27 MB once. Safe to call from several processes at once: the
 * image appears under its key by one rename.
 */
export async function prepareGuestImage(cacheDirectory = defaultCacheDirectory()): Promise<GuestImage> {
  await requirePrograms();
  const recipeHash = createHash("sha256")
    .update(JSON.stringify([RECIPE_VERSION, GUEST_INIT, GUEST_MODULES]))
    .digest("hex")
    .slice(0, 12);
  await mkdir(cacheDirectory, { recursive: true });
  const kernelPackage = await currentKernelPackage();
  const key =
    kernelPackage === undefined
      ? (await readdir(cacheDirectory)).find((entry) => entry.endsWith(`-${recipeHash}`))
      : `${kernelPackage.replace(/^linux-image-/, "")}-${recipeHash}`;
  if (key === undefined) {
    throw new SwitchoverError(
      "FAILED_PRECONDITION",
      "apt knows no linux-image-cloud-amd64: run apt-get update.",
      {
        reason: "GUEST_KERNEL_UNKNOWN",
      },
    );
  }
  const directory = join(cacheDirectory, key);
  if (!existsSync(directory) && kernelPackage !== undefined) await build(kernelPackage, directory);
  return { kernelPath: join(directory, "vmlinuz"), initrdPath: join(directory, "initrd"), key };
}

/** `.cache/guest` in the repository, which git ignores. */
function defaultCacheDirectory(): string {
  let directory = import.meta.dirname;
  while (!existsSync(join(directory, "package.json"))) {
    const parent = dirname(directory);
    if (parent === directory) throw new Error("The lab is not inside its repository.");
    directory = parent;
  }
  return join(directory, ".cache", "guest");
}

async function requirePrograms(): Promise<void> {
  for (const [path, debianPackage] of [
    [BUSYBOX, "busybox-static"],
    ["/usr/bin/cpio", "cpio"],
    ["/usr/bin/qemu-system-x86_64", "qemu-system-x86"],
  ] as const) {
    await access(path).catch((cause: unknown) => {
      throw new SwitchoverError("FAILED_PRECONDITION", `${path} is missing: install ${debianPackage}.`, {
        reason: "LAB_PROGRAM_MISSING",
        cause,
      });
    });
  }
}

/** The package that linux-image-cloud-amd64 stands for today; undefined where apt has no lists. */
async function currentKernelPackage(): Promise<string | undefined> {
  const output = await runCommand("apt-cache", ["depends", "linux-image-cloud-amd64"]).catch(() => "");
  return /Depends: (linux-image-\S+)/.exec(output)?.[1];
}

async function build(kernelPackage: string, directory: string): Promise<void> {
  const scratch = await mkdtemp(`${directory}.building-`);
  try {
    // apt downloads as an unprivileged user, which must be able to write here.
    await chmod(scratch, 0o777);
    await runCommand("apt-get", ["download", "-q", kernelPackage], { cwd: scratch, timeoutMs: 300_000 });
    const deb = (await readdir(scratch)).find((entry) => entry.endsWith(".deb"));
    if (deb === undefined) throw new Error(`apt-get download left no package of ${kernelPackage}.`);
    const unpacked = join(scratch, "package");
    await runCommand("dpkg", ["-x", join(scratch, deb), unpacked], { timeoutMs: 120_000 });

    const image = join(scratch, "image");
    await mkdir(image);
    const release = kernelPackage.replace(/^linux-image-/, "");
    await copyFile(join(unpacked, "boot", `vmlinuz-${release}`), join(image, "vmlinuz"));
    await buildInitrd(join(unpacked, "lib/modules", release), join(scratch, "root"), join(image, "initrd"));
    await rename(image, directory).catch((cause: NodeJS.ErrnoException) => {
      // Another process was faster; its image comes from the same recipe.
      if (cause.code !== "ENOTEMPTY" && cause.code !== "EEXIST") throw cause;
    });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function buildInitrd(moduleTree: string, root: string, initrdPath: string): Promise<void> {
  for (const folder of ["bin", "modules", "proc", "sys", "dev", "scratch"])
    await mkdir(join(root, folder), { recursive: true });
  await copyFile(BUSYBOX, join(root, "bin/busybox"));
  await writeFile(join(root, "init"), GUEST_INIT, { mode: 0o755 });
  const files = await readdir(moduleTree, { recursive: true });
  for (const module of GUEST_MODULES) {
    const file = files.find((candidate) => candidate.endsWith(`/${module}.ko`));
    if (file === undefined) throw new Error(`The guest kernel has no module ${module}.`);
    await copyFile(join(moduleTree, file), join(root, "modules", `${module}.ko`));
  }
  await runCommand(
    "sh",
    ["-c", 'find . | cpio --quiet -o -H newc -R 0:0 | gzip -9 > "$1"', "sh", initrdPath],
    { cwd: root, timeoutMs: 60_000 },
  );
}

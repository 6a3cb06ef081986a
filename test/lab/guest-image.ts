import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { access, copyFile, mkdir, mkdtemp, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { SwitchoverError } from "../../proto/error.ts";
import { runCommand } from "./command.ts";
import { debianKernelRelease, unpackDebianKernel } from "./debian-kernel.ts";
import { repositoryRoot } from "./repository-root.ts";

/** What a guest has besides Debian's cloud kernel and busybox. */
export interface GuestRecipe {
  /** Loaded in this order; each needs those before it. */
  readonly modules: readonly string[];
  /** What init does once proc, sysfs, devtmpfs and the modules are there; `$bb` is busybox. */
  readonly script: string;
}

/** A kernel and an initrd that QEMU boots with `-kernel` and `-initrd`. */
export interface GuestImage {
  readonly kernelPath: string;
  readonly initrdPath: string;
  /** The Debian kernel's release and the recipe's hash: two guests migrate only between equal ones. */
  readonly key: string;
}

const BUSYBOX = "/usr/bin/busybox";
/** Counts changes of how the image is put together that the recipe's text does not show. */
const RECIPE_VERSION = 2;

/**
 * Returns the recipe's guest, building it on first use from Debian's cloud kernel package and busybox-static.
 * Needs the package lists of apt; downloads 27 MB once. Safe to call from several processes at once: the
 * image appears under its key by one rename.
 */
export async function prepareGuestImage(
  recipe: GuestRecipe,
  cacheDirectory = join(repositoryRoot(), ".cache", "guest"),
): Promise<GuestImage> {
  await requirePrograms();
  await mkdir(cacheDirectory, { recursive: true });
  const release = await debianKernelRelease(cacheDirectory);
  const recipeHash = createHash("sha256")
    .update(JSON.stringify([RECIPE_VERSION, initOf(recipe)]))
    .digest("hex")
    .slice(0, 12);
  const key = `${release}-${recipeHash}`;
  const directory = join(cacheDirectory, key);
  if (!existsSync(directory)) await build(release, cacheDirectory, directory, recipe);
  return { kernelPath: join(directory, "vmlinuz"), initrdPath: join(directory, "initrd"), key };
}

function initOf({ modules, script }: GuestRecipe): string {
  return `#!/bin/busybox sh
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t devtmpfs devtmpfs /dev
for module in ${modules.join(" ")}; do $bb insmod /modules/$module.ko || echo "module $module failed"; done
${script}`;
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

async function build(
  release: string,
  cacheDirectory: string,
  directory: string,
  recipe: GuestRecipe,
): Promise<void> {
  const scratch = await mkdtemp(`${directory}.building-`);
  try {
    const kernel = await unpackDebianKernel(release, cacheDirectory, join(scratch, "package"));
    const image = join(scratch, "image");
    await mkdir(image);
    await copyFile(kernel.imagePath, join(image, "vmlinuz"));
    await buildInitrd(kernel.moduleTree, recipe, join(scratch, "root"), join(image, "initrd"));
    await rename(image, directory).catch((cause: NodeJS.ErrnoException) => {
      // Another process was faster; its image comes from the same recipe.
      if (cause.code !== "ENOTEMPTY" && cause.code !== "EEXIST") throw cause;
    });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function buildInitrd(
  moduleTree: string,
  recipe: GuestRecipe,
  root: string,
  initrdPath: string,
): Promise<void> {
  for (const folder of ["bin", "modules", "proc", "sys", "dev", "scratch"])
    await mkdir(join(root, folder), { recursive: true });
  await copyFile(BUSYBOX, join(root, "bin/busybox"));
  await writeFile(join(root, "init"), initOf(recipe), { mode: 0o755 });
  const files = await readdir(moduleTree, { recursive: true });
  for (const module of recipe.modules) {
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

import { chmod, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { SwitchoverError } from "../../proto/error.ts";
import { runCommand } from "./command.ts";

/** Debian's cloud kernel, unpacked and not installed. */
export interface DebianKernel {
  readonly imagePath: string;
  readonly moduleTree: string;
}

const PACKAGE_OF_RELEASE = "linux-image-";

/**
 * The release that linux-image-cloud-amd64 stands for today; where apt has no lists, the newest one in the cache.
 * Throws FAILED_PRECONDITION (GUEST_KERNEL_UNKNOWN) where there is neither.
 */
export async function debianKernelRelease(cacheDirectory: string): Promise<string> {
  const output = await runCommand("apt-cache", ["depends", "linux-image-cloud-amd64"]).catch(() => "");
  const release =
    /Depends: linux-image-(\S+)/.exec(output)?.[1] ?? releasesOf(await readdir(cacheDirectory)).at(-1);
  if (release !== undefined) return release;
  throw new SwitchoverError(
    "FAILED_PRECONDITION",
    "apt knows no linux-image-cloud-amd64: run apt-get update.",
    { reason: "GUEST_KERNEL_UNKNOWN" },
  );
}

/** Unpacks the kernel into `directory`; downloads its package, 27 MB, into the cache where it is not there yet. */
export async function unpackDebianKernel(
  release: string,
  cacheDirectory: string,
  directory: string,
): Promise<DebianKernel> {
  const debianPackage = `${PACKAGE_OF_RELEASE}${release}`;
  const file =
    (await packageFile(cacheDirectory, debianPackage)) ?? (await download(cacheDirectory, debianPackage));
  await runCommand("dpkg", ["-x", join(cacheDirectory, file), directory], { timeoutMs: 120_000 });
  return {
    imagePath: join(directory, "boot", `vmlinuz-${release}`),
    moduleTree: join(directory, "lib/modules", release),
  };
}

/** The oldest first. */
function releasesOf(files: readonly string[]): readonly string[] {
  return files
    .flatMap((file) => /^linux-image-([^_]+)_.*\.deb$/.exec(file)?.[1] ?? [])
    .sort(new Intl.Collator("en", { numeric: true }).compare);
}

async function packageFile(directory: string, debianPackage: string): Promise<string | undefined> {
  const files = await readdir(directory);
  return files.find((file) => file.startsWith(`${debianPackage}_`) && file.endsWith(".deb"));
}

/** The package appears in the cache by one rename, whole. */
async function download(cacheDirectory: string, debianPackage: string): Promise<string> {
  const directory = await mkdtemp(join(cacheDirectory, "downloading-"));
  try {
    // apt downloads as an unprivileged user, which must be able to write here.
    await chmod(directory, 0o777);
    await runCommand("apt-get", ["download", "-q", debianPackage], { cwd: directory, timeoutMs: 300_000 });
    const file = await packageFile(directory, debianPackage);
    if (file === undefined) throw new Error(`apt-get download left no package of ${debianPackage}.`);
    await rename(join(directory, file), join(cacheDirectory, file));
    return file;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

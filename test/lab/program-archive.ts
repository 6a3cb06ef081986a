import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { runCommand } from "./command.ts";
import { programPath } from "./program-path.ts";
import { repositoryRoot } from "./repository-root.ts";

/**
 * Appends to an initrd what a compiled program of this repository needs where there is a kernel and nothing else: Node and
 * the named system programs with their libraries, each at its path of this machine; and at `/`, as in the repository,
 * `dist`, the contract and the modules that are no tools of development. Not compressed: an emulated CPU unpacks slowly.
 */
export async function appendProgramArchive(
  initrdPath: string,
  systemPrograms: readonly string[],
): Promise<void> {
  const programs = [process.execPath, ...systemPrograms.map(requiredPath)];
  const libraries = await Promise.all(programs.map(librariesOf));
  await appendArchive(initrdPath, "/", [...programs, ...libraries.flat()]);
  const root = repositoryRoot();
  await appendArchive(initrdPath, root, await repositoryFiles(root));
}

/** The kernel finds an archive behind another one where it begins at a multiple of 4 bytes. */
async function appendArchive(initrdPath: string, root: string, paths: readonly string[]): Promise<void> {
  const names = namesWithFolders(paths.map((path) => relative(root, path)));
  await runCommand(
    "sh",
    ["-c", 'truncate --size=%4 "$1" && exec cpio --quiet -0 -o -L -H newc -R 0:0 >> "$1"', "sh", initrdPath],
    { cwd: root, input: names.join("\0"), timeoutMs: 60_000 },
  );
}

/** Each name once, behind the folders that it is in: the kernel makes none by itself. */
function namesWithFolders(names: readonly string[]): readonly string[] {
  const all = new Set<string>();
  for (const name of names) {
    for (let part = name; part !== "."; part = dirname(part)) all.add(part);
  }
  return [...all].sort();
}

async function repositoryFiles(root: string): Promise<readonly string[]> {
  const folders = ["dist", "proto", ...(await productionModules(root))].map((folder) => join(root, folder));
  const files = await Promise.all(folders.map(filesBelow));
  return [join(root, "package.json"), ...files.flat()];
}

/** `node_modules/koffi`, ...; without what npm left out as made for another platform. */
async function productionModules(root: string): Promise<readonly string[]> {
  const lock = JSON.parse(await readFile(join(root, "package-lock.json"), "utf8")) as {
    readonly packages: Readonly<Record<string, { readonly dev?: true }>>;
  };
  return Object.entries(lock.packages)
    .filter(([path, { dev }]) => path !== "" && dev === undefined && existsSync(join(root, path)))
    .map(([path]) => path);
}

async function filesBelow(folder: string): Promise<readonly string[]> {
  return (await readdir(folder, { recursive: true })).map((name) => join(folder, name));
}

function requiredPath(program: string): string {
  const path = programPath(program);
  if (path === undefined) throw new Error(`${program} is not on the PATH.`);
  return path;
}

async function librariesOf(program: string): Promise<readonly string[]> {
  const text = await runCommand("ldd", [program]);
  return [...text.matchAll(/(\/\S+) \(0x/g)].flatMap(([, path]) => path ?? []);
}

import { existsSync } from "node:fs";
import { dirname, join } from "node:path";

/** The folder of the repository's package.json, above this program's sources or what was compiled of them. */
export function repositoryRoot(): string {
  let directory = import.meta.dirname;
  while (!existsSync(join(directory, "package.json"))) {
    const parent = dirname(directory);
    if (parent === directory) throw new Error("The lab is not inside its repository.");
    directory = parent;
  }
  return directory;
}

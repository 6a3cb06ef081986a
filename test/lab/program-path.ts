import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";

/** The file of a program that the PATH finds; undefined where it finds none. */
export function programPath(program: string): string | undefined {
  const folders = (process.env.PATH ?? "").split(delimiter);
  return folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
}

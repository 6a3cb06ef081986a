import { readFile } from "node:fs/promises";

/** The objects that a file has, a line each; what is on other lines is left out. Throws for a line that is half an object. */
export async function readJsonLines(path: string): Promise<readonly object[]> {
  const text = await readFile(path, "utf8");
  return text
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line));
}

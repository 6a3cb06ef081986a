import { readFileSync } from "node:fs";

/** Switchover's version, from the package.json that was shipped with the compiled file. */
export function readVersion(): string {
  const text = readFileSync(new URL("../../../package.json", import.meta.url), "utf8");
  const { version } = JSON.parse(text) as { version: string };
  return version;
}

/**
 * Records test/unit/fixtures/qmp-transcripts anew from the QEMU that is installed:
 * `node dist/test/qemu/qmp-record-transcripts.js <directory>`.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { migrateByTheBook, withBarePair } from "./qmp-bare-migration.ts";
import type { BareQemu } from "./qmp-bare-qemu.ts";

const [directory] = process.argv.slice(2);
if (directory === undefined) throw new Error("Name the directory to write the transcripts to.");

for (const mode of ["live", "post-copy"] as const) {
  await withBarePair(async (pair) => {
    await migrateByTheBook(pair, mode);
    const write = (role: string, { transcript }: BareQemu): Promise<void> =>
      writeFile(
        join(directory, `${mode}-${role}.jsonl`),
        transcript.map((entry) => `${JSON.stringify(entry)}\n`).join(""),
      );
    await Promise.all([write("source", pair.source), write("destination", pair.destination)]);
  });
}

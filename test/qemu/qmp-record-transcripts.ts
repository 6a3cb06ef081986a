/**
 * Records test/unit/fixtures/qmp-transcripts anew from the QEMU that is installed:
 * `node dist/test/qemu/qmp-record-transcripts.js <directory>`.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type BarePair, migrateByTheBook, withBarePair } from "./qmp-bare-migration.ts";
import type { BareQemu } from "./qmp-bare-qemu.ts";
import { BROKEN_MIGRATIONS } from "./qmp-broken-migrations.ts";

const [directory] = process.argv.slice(2);
if (directory === undefined) throw new Error("Name the directory to write the transcripts to.");

async function record(name: string, pair: BarePair): Promise<void> {
  const write = (role: string, { transcript }: BareQemu): Promise<void> =>
    writeFile(
      join(directory ?? "", `${name}-${role}.jsonl`),
      transcript.map((entry) => `${JSON.stringify(entry)}\n`).join(""),
    );
  await Promise.all([write("source", pair.source), write("destination", pair.destination)]);
}

for (const mode of ["live", "post-copy"] as const) {
  await withBarePair(async (pair) => {
    await migrateByTheBook(pair, mode);
    await record(mode, pair);
  });
}
for (const { name, play } of BROKEN_MIGRATIONS) {
  await withBarePair(async (pair) => {
    await play(pair);
    await record(name, pair);
  });
}

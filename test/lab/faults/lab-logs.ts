import { copyFile, mkdir, open, readdir, stat, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { FeedEvent } from "../../../proto/gen/switchover/v1/feed.ts";
import { agentStateDirectory } from "../managed/cluster.ts";
import type { FaultLab } from "./fault-lab.ts";

/** What the lab's programs say from now on, to be kept where a cell went wrong. */
export class LabLogs {
  readonly #lab: FaultLab;
  readonly #offsets: ReadonlyMap<string, number>;
  readonly #eventsHeard: number;

  private constructor(lab: FaultLab, offsets: ReadonlyMap<string, number>) {
    this.#lab = lab;
    this.#offsets = offsets;
    this.#eventsHeard = lab.observer.all().length;
  }

  static async from(lab: FaultLab): Promise<LabLogs> {
    const offsets = new Map<string, number>();
    for (const path of await logFiles(lab)) offsets.set(path, (await stat(path)).size);
    return new LabLogs(lab, offsets);
  }

  /** Writes logs, journals and the sentence to `<directory>/<cell>/`, over those of an earlier run. */
  async keep(directory: string, cell: string, sentence: string): Promise<void> {
    const folder = join(directory, cell);
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, "what-is-wrong.txt"), `${sentence}\n`);
    const heard = this.#lab.observer.all().slice(this.#eventsHeard);
    const lines = heard.map(({ event }) => JSON.stringify(FeedEvent.toJSON(event)));
    await writeFile(join(folder, "feed.jsonl"), `${lines.join("\n")}\n`);
    for (const path of await logFiles(this.#lab)) {
      await writeFile(join(folder, basename(path)), await readFrom(path, this.#offsets.get(path) ?? 0));
    }
    for (const path of await serialLogs(this.#lab)) {
      await copyFile(join(this.#lab.lab.directory, path), join(folder, path.replaceAll("/", "-")));
    }
    for (const { name } of this.#lab.lab.topology.hosts) {
      const journals = agentStateDirectory(this.#lab.lab, name);
      for (const file of (await readdir(journals)).filter((entry) => entry.endsWith(".journal"))) {
        await copyFile(join(journals, file), join(folder, `${name}-${file}`));
      }
    }
  }
}

async function logFiles(lab: FaultLab): Promise<readonly string[]> {
  const { logs } = lab.cluster;
  return (await readdir(logs)).map((name) => join(logs, name));
}

/** What guests wrote on their serial ports, by QEMU. */
async function serialLogs(lab: FaultLab): Promise<readonly string[]> {
  const files = await readdir(lab.lab.directory, { recursive: true });
  return files.filter((name) => name.endsWith("/serial.log"));
}

async function readFrom(path: string, offset: number): Promise<Uint8Array> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const bytes = Buffer.alloc(Math.max(0, size - offset));
    await file.read(bytes, 0, bytes.length, offset);
    return bytes;
  } finally {
    await file.close();
  }
}

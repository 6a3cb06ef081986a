import { execFileSync } from "node:child_process";
import { appendFile, mkdir, open, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { runCommand } from "../command.ts";
import type { Lab } from "../lab.ts";
import { agentStateDirectory } from "../managed/cluster.ts";

const SIZE = "4m";
const BLOCK_BYTES = 4096;
/** What is left of the journal's last block: less than any word needs, so that the word is torn in its middle. */
const LEFT_BYTES = 64;
const SHORTEST_PAD = `{"atUnixUs":0,"instanceId":"pad","word":{"kind":"forgotten"},"pad":""}\n`;

/** The file system under one agent's journals: small, its own, and to be filled up. */
export class JournalDisk {
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  /** Mounts it where the host's agent keeps its state; unmounted with the lab. */
  static async mount(lab: Lab, host: string): Promise<JournalDisk> {
    const directory = agentStateDirectory(lab, host);
    await mkdir(directory, { recursive: true });
    await runCommand("mount", ["-t", "tmpfs", "-o", `size=${SIZE},mode=700`, "switchover-lab", directory]);
    lab.cleanups.add({
      label: `the file system on ${directory}`,
      run: async () => void (await runCommand("umount", ["-l", directory])),
      runNow: () => void execFileSync("umount", ["-l", directory], { stdio: "ignore", timeout: 5_000 }),
    });
    return new JournalDisk(directory);
  }

  /**
   * Takes every free block, and all but some bytes of the last one of the guest's journal: by a line that says nothing,
   * about an instance that never was.
   */
  async fill(guestId: string): Promise<void> {
    const journal = join(this.#directory, `${guestId}.journal`);
    const used = (await stat(journal)).size % BLOCK_BYTES;
    const room = (2 * BLOCK_BYTES - used - LEFT_BYTES - SHORTEST_PAD.length) % BLOCK_BYTES;
    await appendFile(journal, SHORTEST_PAD.replace(`""`, `"${"x".repeat(room)}"`));
    const filler = await open(this.#filler, "w");
    try {
      const block = Buffer.alloc(BLOCK_BYTES, 1);
      // Ends with ENOSPC.
      for (;;) await filler.write(block);
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== "ENOSPC") throw thrown;
    } finally {
      await filler.close();
    }
  }

  async free(): Promise<void> {
    await rm(this.#filler, { force: true });
  }

  get #filler(): string {
    return join(this.#directory, "filler");
  }
}

import { withDeadline } from "../deadline.ts";
import type { NetworkNamespace } from "../network-namespace.ts";
import type { TrackedProcess } from "../tracked-process.ts";
import type { FrameRecord } from "./records.ts";

const FRAME =
  /^(\d+)\.(\d{6}) ([0-9a-f:]{17}) > ([0-9a-f:]{17}|Broadcast), (?:ethertype (.+?) \(0x[0-9a-f]{4}\)|(802\.3)), length (\d+)/;
const START_TIMEOUT_MS = 5000;
const FINISH_TIMEOUT_MS = 2000;

/**
 * Records the frames on a tap with the kernel's time stamps, and who sent each: what enters the tap device
 * (tcpdump's `in`) was sent by the guest or by its QEMU; what leaves it (`out`) by the host or its bridge,
 * and counts as soon as it is queued, whether or not a guest reads it.
 */
export class TapCapture {
  readonly #processes: readonly TrackedProcess[];
  readonly #frames: FrameRecord[] = [];

  private constructor(processes: readonly TrackedProcess[]) {
    this.#processes = processes;
  }

  /** Starts capturing; the tap must exist and be up. `filter` is a pcap expression. */
  static async start(namespace: NetworkNamespace, tap: string, filter = ""): Promise<TapCapture> {
    const directions = [
      ["in", "guest"],
      ["out", "host"],
    ] as const;
    const processes = directions.map(([direction]) =>
      namespace.spawn(
        "tcpdump",
        ["-i", tap, "-Q", direction, "-tt", "-e", "-n", "-l", "--immediate-mode", "-s", "128", filter],
        { scheduling: "realtime", env: { LC_ALL: "C" } },
      ),
    );
    const capture = new TapCapture(processes);
    try {
      await Promise.all(
        directions.map(async ([, sentBy], index) => {
          const process = processes[index];
          if (process === undefined) return;
          process.onLine((line) => {
            const frame = parseFrameLine(line, sentBy);
            if (frame !== undefined) capture.#frames.push(frame);
          });
          const listening = new Promise<void>((resolve, reject) => {
            process.onErrorLine((line) => {
              if (line.includes("listening on")) resolve();
            });
            void process.exited.then(({ stderr }) => reject(new Error(`tcpdump on ${tap}: ${stderr}`)));
          });
          await withDeadline(listening, START_TIMEOUT_MS, `A capture on ${tap}`);
        }),
      );
    } catch (cause) {
      await Promise.all(processes.map((process) => process.kill()));
      throw cause;
    }
    return capture;
  }

  /** Frames so far, by time. Frames of the last few milliseconds may still be on their way here. */
  frames(): readonly FrameRecord[] {
    return this.#frames.toSorted((a, b) => a.atUnixUs - b.atUnixUs);
  }

  /** Ends the capture (SIGINT, so that tcpdump prints what it holds) and returns all its frames, by time. */
  async close(): Promise<readonly FrameRecord[]> {
    for (const process of this.#processes) process.signal("SIGINT");
    await Promise.all(
      this.#processes.map((process) => process.waitForExit(FINISH_TIMEOUT_MS).catch(() => process.kill())),
    );
    return this.frames();
  }
}

/** One line of `tcpdump -tt -e`; undefined for lines that describe no frame. */
export function parseFrameLine(line: string, sentBy: FrameRecord["sentBy"]): FrameRecord | undefined {
  const match = FRAME.exec(line);
  if (match === null) return undefined;
  const [, seconds, micros, source = "", destination = "", etherType, llc, length] = match;
  return {
    atUnixUs: Number(seconds) * 1e6 + Number(micros),
    sentBy,
    source,
    destination: destination === "Broadcast" ? "ff:ff:ff:ff:ff:ff" : destination,
    etherType: etherType ?? llc ?? "",
    lengthBytes: Number(length),
  };
}

import { deadlineExceeded, withDeadline } from "../deadline.ts";
import { unixMicros } from "../realtime-clock.ts";
import type { LabHost } from "../topology.ts";
import type { TrackedProcess } from "../tracked-process.ts";
import type { FdbRecord } from "./records.ts";

/** Made and deleted again to learn that the monitor has told everything that came before. */
const MARKER = "witness0";
const BARRIER_TIMEOUT_MS = 5_000;
const MARKER_RETRY_MS = 100;

const TIMESTAMP = /^Timestamp: (.+ \d{4}) (\d+) usec$/;
const LINK = /^(?<deleted>Deleted )?\d+: (?<name>[^@:\s]+)(?:@\S+)?: <(?<flags>[^>]*)>/;
const ADDRESS = /^link\/ether (?<mac>[0-9a-f:]{17}) /;

interface LinkLine {
  readonly name: string;
  readonly state: "up" | "down" | "deleted";
}

/**
 * An independent record of when macvtaps with some MACs were online on one host: `ip -timestamp monitor link`. Told as
 * entries of a bridge named after what they are, so that one judgement serves both: online is registered.
 */
export class LinkWitness {
  readonly #lab: LabHost;
  readonly #macs: ReadonlySet<string>;
  readonly #process: TrackedProcess;
  readonly #records: FdbRecord[] = [];
  #markers = new Set<() => void>();
  #atUnixUs = 0;
  #line: LinkLine | undefined;

  private constructor(host: LabHost, macs: readonly string[], process: TrackedProcess) {
    this.#lab = host;
    this.#macs = new Set(macs);
    this.#process = process;
    process.onLine((line) => this.#onLine(line.trim()));
  }

  /** Starts watching, then notes what is online already. Returns once no later change can be missed. */
  static async start(host: LabHost, macs: readonly string[]): Promise<LinkWitness> {
    const monitor = host.namespace.spawn("ip", ["-timestamp", "monitor", "link"], {
      scheduling: "realtime",
      env: { TZ: "UTC", LC_ALL: "C" },
    });
    const witness = new LinkWitness(host, macs, monitor);
    try {
      await witness.settle();
      await witness.#notePresent();
    } catch (cause) {
      await monitor.kill();
      throw cause;
    }
    return witness;
  }

  /** Resolves when every change made before the call is in the records. */
  async settle(): Promise<void> {
    const { name, namespace } = this.#lab;
    const startedMs = performance.now();
    const seen = new Promise<void>((resolve) => this.#markers.add(resolve));
    // The monitor subscribes some time after its start and says nothing then: ask until it answers.
    for (;;) {
      await namespace.ip([`link add ${MARKER} type bridge`, `link delete ${MARKER}`]);
      const answered = await withDeadline(seen, MARKER_RETRY_MS, "The marker").then(
        () => true,
        () => false,
      );
      if (answered) return;
      if (performance.now() - startedMs > BARRIER_TIMEOUT_MS || this.#process.exit() !== undefined) {
        throw deadlineExceeded(`An answer of the link monitor on ${name}`, BARRIER_TIMEOUT_MS);
      }
    }
  }

  /** Ends the monitor after a last `settle`, and returns the records. */
  async close(): Promise<readonly FdbRecord[]> {
    try {
      await this.settle();
    } finally {
      await this.#process.kill();
    }
    return this.#records;
  }

  #onLine(line: string): void {
    const stamp = TIMESTAMP.exec(line);
    if (stamp?.[1] !== undefined) {
      this.#atUnixUs = Date.parse(`${stamp[1]} UTC`) * 1000 + Number(stamp[2]);
      return;
    }
    const link = parseLinkLine(line);
    if (link !== undefined) {
      this.#line = link;
      if (link.name === MARKER && link.state === "deleted") {
        for (const resolve of this.#markers) resolve();
        this.#markers = new Set();
      }
      return;
    }
    const mac = ADDRESS.exec(line)?.groups?.mac;
    if (mac === undefined || this.#line === undefined || !this.#macs.has(mac)) return;
    this.#note(this.#line, mac, this.#line.state === "up" ? "set" : "deleted", this.#atUnixUs);
  }

  #note(line: LinkLine, mac: string, change: FdbRecord["change"], atUnixUs: number): void {
    const { name: host } = this.#lab;
    this.#records.push({
      host,
      atUnixUs,
      change,
      mac,
      dev: line.name,
      bridge: `online ${line.name}`,
      vlan: undefined,
      state: "static",
      sticky: "movable",
    });
  }

  async #notePresent(): Promise<void> {
    const atUnixUs = unixMicros();
    const text = await this.#lab.namespace.run("ip", ["-j", "link", "show", "type", "macvtap"]);
    const links = JSON.parse(text.trim() === "" ? "[]" : text) as {
      readonly ifname?: string;
      readonly address?: string;
      readonly flags?: readonly string[];
    }[];
    for (const { address, flags, ifname } of links) {
      if (address === undefined || ifname === undefined || !this.#macs.has(address)) continue;
      if (flags?.includes("UP")) this.#note({ name: ifname, state: "up" }, address, "present", atUnixUs);
    }
  }
}

/** The first line that `ip monitor link` prints of a device; undefined for others. */
export function parseLinkLine(line: string): LinkLine | undefined {
  const fields = LINK.exec(line)?.groups;
  if (fields?.name === undefined) return undefined;
  if (fields.deleted !== undefined) return { name: fields.name, state: "deleted" };
  return { name: fields.name, state: fields.flags?.split(",").includes("UP") ? "up" : "down" };
}

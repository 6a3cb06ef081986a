import { SwitchoverError } from "../../../proto/error.ts";
import { deadlineExceeded, withDeadline } from "../deadline.ts";
import { unixMicros } from "../realtime-clock.ts";
import type { LabHost } from "../topology.ts";
import type { TrackedProcess } from "../tracked-process.ts";
import type { FdbRecord } from "./records.ts";

/** Set and deleted again to learn that the monitor has told everything that came before. */
const MARKER_MAC = "02:5e:7a:1e:00:01";
const BARRIER_TIMEOUT_MS = 5000;
const MARKER_RETRY_MS = 100;

const TIMESTAMP = /^Timestamp: (.+ \d{4}) (\d+) usec$/;
const ENTRY =
  /^(?<deleted>Deleted )?(?<mac>[0-9a-f:]{17}) dev (?<dev>\S+) (?:vlan (?<vlan>\d+) )?(?<flags>.*?)master (?<bridge>\S+) ?(?<state>.*)$/;

/** An independent record of every bridge entry of some MACs on one host: `bridge -timestamp monitor fdb`. */
export class FdbWitness {
  readonly host: string;
  readonly #lab: LabHost;
  readonly #macs: ReadonlySet<string>;
  readonly #process: TrackedProcess;
  readonly #records: FdbRecord[] = [];
  #markers = new Set<() => void>();
  #atUnixUs = 0;

  private constructor(host: LabHost, macs: readonly string[], process: TrackedProcess) {
    this.host = host.name;
    this.#lab = host;
    this.#macs = new Set(macs);
    this.#process = process;
    process.onLine((line) => this.#onLine(line));
  }

  /** Starts watching, then notes what is there already. Returns once no later change can be missed. */
  static async start(host: LabHost, macs: readonly string[]): Promise<FdbWitness> {
    const monitor = host.namespace.spawn("bridge", ["-timestamp", "monitor", "fdb"], {
      scheduling: "realtime",
      env: { TZ: "UTC", LC_ALL: "C" },
    });
    const witness = new FdbWitness(host, macs, monitor);
    try {
      await witness.settle();
      witness.#records.push(...(await witness.#present()));
    } catch (cause) {
      await monitor.kill();
      throw cause;
    }
    return witness;
  }

  /** Resolves when every change made before the call is in `records()`. */
  async settle(): Promise<void> {
    const { namespace, uplink } = this.#lab;
    const startedMs = performance.now();
    const seen = new Promise<void>((resolve) => this.#markers.add(resolve));
    // The monitor subscribes some time after its start and says nothing then: ask until it answers.
    for (;;) {
      await namespace.bridge([
        `fdb replace ${MARKER_MAC} dev ${uplink} master static`,
        `fdb delete ${MARKER_MAC} dev ${uplink} master`,
      ]);
      const answered = await withDeadline(seen, MARKER_RETRY_MS, "The marker").then(
        () => true,
        () => false,
      );
      if (answered) return;
      if (performance.now() - startedMs > BARRIER_TIMEOUT_MS || this.#process.exit() !== undefined) {
        throw deadlineExceeded(`An answer of the FDB monitor on ${this.host}`, BARRIER_TIMEOUT_MS);
      }
    }
  }

  /** Everything witnessed so far, in the kernel's order. */
  records(): readonly FdbRecord[] {
    return this.#records;
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
    const record = parseFdbLine(line, this.host, this.#atUnixUs);
    if (record === undefined) return;
    if (record.mac === MARKER_MAC && record.change === "deleted") {
      for (const resolve of this.#markers) resolve();
      this.#markers = new Set();
    }
    if (this.#macs.has(record.mac)) this.#records.push(record);
  }

  async #present(): Promise<FdbRecord[]> {
    const atUnixUs = unixMicros();
    const text = await this.#lab.namespace.run("bridge", ["-j", "fdb", "show"]);
    return parseFdbShow(text, this.host, atUnixUs).filter(({ mac }) => this.#macs.has(mac));
  }
}

/** One line of `bridge monitor fdb`; undefined for entries of no bridge (`self`) and for other lines. */
export function parseFdbLine(line: string, host: string, atUnixUs: number): FdbRecord | undefined {
  const fields = ENTRY.exec(line.trim())?.groups;
  if (fields?.mac === undefined || fields.dev === undefined || fields.bridge === undefined) return undefined;
  const state = fields.state ?? "";
  return {
    host,
    atUnixUs,
    change: fields.deleted === undefined ? "set" : "deleted",
    mac: fields.mac,
    dev: fields.dev,
    bridge: fields.bridge,
    vlan: fields.vlan === undefined ? undefined : Number(fields.vlan),
    state: entryState(state),
    sticky: /\bsticky\b/.test(`${fields.flags} ${state}`) ? "sticky" : "movable",
  };
}

/** The output of `bridge -j fdb show`. Throws INTERNAL when it is not a list of entries. */
export function parseFdbShow(json: string, host: string, atUnixUs: number): FdbRecord[] {
  const entries: unknown = json.trim() === "" ? [] : JSON.parse(json);
  if (!Array.isArray(entries)) {
    throw new SwitchoverError("INTERNAL", "bridge -j fdb show did not print a list.", {
      reason: "LAB_BAD_OUTPUT",
    });
  }
  return entries.flatMap(
    (entry: {
      mac: string;
      ifname: string;
      vlan?: number;
      flags?: readonly string[];
      master?: string;
      state?: string;
    }): FdbRecord[] =>
      entry.master === undefined
        ? []
        : [
            {
              host,
              atUnixUs,
              change: "present",
              mac: entry.mac,
              dev: entry.ifname,
              bridge: entry.master,
              vlan: entry.vlan,
              state: entryState(entry.state ?? ""),
              sticky: entry.flags?.includes("sticky") ? "sticky" : "movable",
            },
          ],
  );
}

function entryState(text: string): FdbRecord["state"] {
  if (/\bpermanent\b/.test(text)) return "permanent";
  return /\bstatic\b/.test(text) ? "static" : "dynamic";
}

import { SwitchoverError } from "../../../proto/error.ts";
import { unixMicros } from "../realtime-clock.ts";
import type { LabHost } from "../topology.ts";
import { KernelMonitor, type MonitoredObject } from "./kernel-monitor.ts";
import type { FdbRecord } from "./records.ts";

const ENTRY =
  /^(?<deleted>Deleted )?(?<mac>[0-9a-f:]{17}) dev (?<dev>\S+) (?:vlan (?<vlan>\d+) )?(?<flags>.*?)master (?<bridge>\S+) ?(?<state>.*)$/;

/** An independent record of every bridge entry of some MACs on one host: `bridge -timestamp monitor fdb`. */
export class FdbWitness {
  readonly #monitor: KernelMonitor;
  readonly #records: FdbRecord[];

  private constructor(monitor: KernelMonitor, records: FdbRecord[]) {
    this.#monitor = monitor;
    this.#records = records;
  }

  /** Starts watching, then notes what is there already. Returns once no later change can be missed. */
  static async start(host: LabHost, macs: readonly string[]): Promise<FdbWitness> {
    const records: FdbRecord[] = [];
    const monitor = await KernelMonitor.start(host, entriesBeside(host.uplink), (line, atUnixUs) => {
      const record = parseFdbLine(line, host.name, atUnixUs);
      if (record !== undefined && macs.includes(record.mac)) records.push(record);
    });
    try {
      const atUnixUs = unixMicros();
      const text = await host.namespace.run("bridge", ["-j", "fdb", "show"]);
      records.push(...parseFdbShow(text, host.name, atUnixUs).filter(({ mac }) => macs.includes(mac)));
    } catch (cause) {
      await monitor.kill();
      throw cause;
    }
    return new FdbWitness(monitor, records);
  }

  /** Ends the monitor after a last `settle`, and returns the records. */
  async close(): Promise<readonly FdbRecord[]> {
    await this.#monitor.close();
    return this.#records;
  }
}

/** An entry on the uplink marks what was told. */
function entriesBeside(uplink: string): MonitoredObject {
  const markOf = (number: number) => `02:5e:7a:1e:00:${number.toString(16).padStart(2, "0")}`;
  return {
    program: "bridge",
    object: "fdb",
    marksOf: (number) => [
      `fdb replace ${markOf(number)} dev ${uplink} master static`,
      `fdb delete ${markOf(number)} dev ${uplink} master`,
    ],
    isMark: (line, number) => line.startsWith(`Deleted ${markOf(number)} dev`),
  };
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

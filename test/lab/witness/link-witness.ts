import { unixMicros } from "../realtime-clock.ts";
import type { LabHost } from "../topology.ts";
import { KernelMonitor, type MonitoredObject } from "./kernel-monitor.ts";
import { type MacvtapChange, OnlineMacvtaps, parseLinkLine, parseLinkShow } from "./online-macvtaps.ts";
import type { FdbRecord } from "./records.ts";

/** A bridge of no ports marks what was told. */
const LINKS: MonitoredObject = {
  program: "ip",
  object: "link",
  options: ["-details"],
  marksOf: (number) => [`link add witness${number} type bridge`, `link delete witness${number}`],
  isMark: (line, number) => {
    const link = parseLinkLine(line);
    return link?.state === "deleted" && link.name === `witness${number}`;
  },
};

/**
 * An independent record of when macvtaps with some MACs were online on one host: `ip -details -timestamp monitor link`.
 * Told as entries of a bridge named after what they are, so that one judgement serves both: online is registered.
 */
export class LinkWitness {
  readonly #monitor: KernelMonitor;
  readonly #records: FdbRecord[];

  private constructor(monitor: KernelMonitor, records: FdbRecord[]) {
    this.#monitor = monitor;
    this.#records = records;
  }

  /** Starts watching, then notes what is online already. Returns once no later change can be missed. */
  static async start(host: LabHost, macs: readonly string[]): Promise<LinkWitness> {
    const records: FdbRecord[] = [];
    const macvtaps = new OnlineMacvtaps();
    const note = (changes: readonly MacvtapChange[], online: "set" | "present", atUnixUs: number) => {
      for (const { mac, name, registered } of changes) {
        if (!macs.includes(mac)) continue;
        const change = registered === "online" ? online : "deleted";
        records.push(onlineRecord(host.name, name, mac, change, atUnixUs));
      }
    };
    const monitor = await KernelMonitor.start(host, LINKS, (line, atUnixUs) => {
      note(macvtaps.hearLine(line), "set", atUnixUs);
    });
    try {
      const atUnixUs = unixMicros();
      const text = await host.namespace.run("ip", ["-json", "-details", "link", "show"]);
      note(macvtaps.begin(parseLinkShow(text)), "present", atUnixUs);
    } catch (cause) {
      await monitor.kill();
      throw cause;
    }
    return new LinkWitness(monitor, records);
  }

  /** Ends the monitor after a last `settle`, and returns the records. */
  async close(): Promise<readonly FdbRecord[]> {
    await this.#monitor.close();
    return this.#records;
  }
}

function onlineRecord(
  host: string,
  dev: string,
  mac: string,
  change: FdbRecord["change"],
  atUnixUs: number,
): FdbRecord {
  const bridge = `online ${dev}`;
  return { host, atUnixUs, change, mac, dev, bridge, vlan: undefined, state: "static", sticky: "movable" };
}

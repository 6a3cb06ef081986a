import { unixMicros } from "../realtime-clock.ts";
import type { LabHost } from "../topology.ts";
import { KernelMonitor, type MonitoredObject } from "./kernel-monitor.ts";
import type { FdbRecord } from "./records.ts";

const LINK = /^(?<deleted>Deleted )?\d+: (?<name>[^@:\s]+)(?:@\S+)?: <(?<flags>[^>]*)>/;
const ADDRESS = /^link\/ether (?<mac>[0-9a-f:]{17}) /;

interface LinkLine {
  readonly name: string;
  readonly state: "up" | "down" | "deleted";
}

/** A bridge of no ports marks what was told. */
const LINKS: MonitoredObject = {
  program: "ip",
  object: "link",
  marksOf: (number) => [`link add witness${number} type bridge`, `link delete witness${number}`],
  isMark: (line, number) => {
    const link = parseLinkLine(line);
    return link?.state === "deleted" && link.name === `witness${number}`;
  },
};

/**
 * An independent record of when macvtaps with some MACs were online on one host: `ip -timestamp monitor link`. Told as
 * entries of a bridge named after what they are, so that one judgement serves both: online is registered.
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
    const note = ({ name }: LinkLine, mac: string, change: FdbRecord["change"], atUnixUs: number) => {
      if (macs.includes(mac)) records.push(onlineRecord(host.name, name, mac, change, atUnixUs));
    };
    let last: LinkLine | undefined;
    const monitor = await KernelMonitor.start(host, LINKS, (line, atUnixUs) => {
      last = parseLinkLine(line) ?? last;
      const mac = ADDRESS.exec(line)?.groups?.mac;
      if (mac === undefined || last === undefined) return;
      note(last, mac, last.state === "up" ? "set" : "deleted", atUnixUs);
    });
    try {
      const atUnixUs = unixMicros();
      const text = await host.namespace.run("ip", ["-j", "link", "show", "type", "macvtap"]);
      const links = JSON.parse(text.trim() === "" ? "[]" : text) as {
        readonly ifname?: string;
        readonly address?: string;
        readonly flags?: readonly string[];
      }[];
      for (const { address, flags, ifname } of links) {
        if (address === undefined || ifname === undefined || !flags?.includes("UP")) continue;
        note({ name: ifname, state: "up" }, address, "present", atUnixUs);
      }
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

/** The first line that `ip monitor link` prints of a device; undefined for others. */
export function parseLinkLine(line: string): LinkLine | undefined {
  const fields = LINK.exec(line)?.groups;
  if (fields?.name === undefined) return undefined;
  if (fields.deleted !== undefined) return { name: fields.name, state: "deleted" };
  return { name: fields.name, state: fields.flags?.split(",").includes("UP") ? "up" : "down" };
}

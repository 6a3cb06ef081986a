import { unixMicros } from "../realtime-clock.ts";
import type { LabHost } from "../topology.ts";
import { KernelMonitor, type MonitoredObject } from "./kernel-monitor.ts";
import type { FdbRecord } from "./records.ts";

const ROUTE = /^(?<deleted>Deleted )?(?<prefix>\d[\d./]+) dev (?<dev>\S+)/;

/** A black hole in a network for benchmarks marks what was told. */
const ROUTES: MonitoredObject = {
  program: "ip",
  object: "route",
  marksOf: (number) => [
    `route add blackhole 198.18.0.${number}`,
    `route delete blackhole 198.18.0.${number}`,
  ],
  isMark: (line, number) => `${line} `.startsWith(`Deleted blackhole 198.18.0.${number} `),
};

/** A prefix that leads to a guest, as `ip route` prints it: an address without "/32". */
export interface WitnessedRoute {
  readonly prefix: string;
  /** Of the NIC that it leads to. */
  readonly mac: string;
}

/**
 * An independent record of where some IPv4 prefixes led on one host: `ip -timestamp monitor route`. Told as entries of a
 * bridge named after the prefix, so that one judgement serves all witnesses: routed to a device is registered there.
 */
export class RouteWitness {
  readonly #monitor: KernelMonitor;
  readonly #records: FdbRecord[];

  private constructor(monitor: KernelMonitor, records: FdbRecord[]) {
    this.#monitor = monitor;
    this.#records = records;
  }

  /** Starts watching, then notes what is there already. Returns once no later change can be missed. */
  static async start(host: LabHost, routes: readonly WitnessedRoute[]): Promise<RouteWitness> {
    const records: FdbRecord[] = [];
    const monitor = await KernelMonitor.start(host, ROUTES, (line, atUnixUs) => {
      const record = parseRouteLine(line, host.name, routes, atUnixUs);
      if (record !== undefined) records.push(record);
    });
    try {
      const atUnixUs = unixMicros();
      const shown = await host.namespace.run("ip", ["-4", "route", "show"]);
      for (const line of shown.split("\n")) {
        const record = parseRouteLine(line, host.name, routes, atUnixUs);
        if (record !== undefined) records.push({ ...record, change: "present" });
      }
    } catch (cause) {
      await monitor.kill();
      throw cause;
    }
    return new RouteWitness(monitor, records);
  }

  /** Ends the monitor after a last `settle`, and returns the records. */
  async close(): Promise<readonly FdbRecord[]> {
    await this.#monitor.close();
    return this.#records;
  }
}

/** One line of `ip monitor route` or `ip route show`; undefined for routes of others. */
export function parseRouteLine(
  line: string,
  host: string,
  routes: readonly WitnessedRoute[],
  atUnixUs: number,
): FdbRecord | undefined {
  const fields = ROUTE.exec(line.trim())?.groups;
  const route = routes.find(({ prefix }) => prefix === fields?.prefix);
  if (fields?.dev === undefined || route === undefined) return undefined;
  return {
    host,
    atUnixUs,
    change: fields.deleted === undefined ? "set" : "deleted",
    mac: route.mac,
    dev: fields.dev,
    bridge: `route ${route.prefix}`,
    vlan: undefined,
    state: "static",
    sticky: "movable",
  };
}

import { SwitchoverError } from "../../proto/error.ts";
import type { GuestId } from "../../proto/ids.ts";
import type { Clock } from "../clock.ts";
import { deviceTypeOf } from "../device/device-types.ts";
import { linksOf } from "../device/host-survey.ts";
import { kernelWords } from "../device/route-answers.ts";
import type { InstanceTable } from "../instance/instance-table.ts";
import type { Log } from "../log.ts";
import type { FdbEntry } from "../netlink/neighbour.ts";
import { encodeBatch } from "../netlink/route-batch.ts";
import type { RouteMessage, RoutePort } from "../netlink/route-port.ts";
import type { RouteDump, RouteRequest } from "../netlink/route-request.ts";
import type { TableReader } from "../netlink/table-reader.ts";
import { findOrphans, type Orphan } from "./find-orphans.ts";

export interface OrphansParts {
  readonly route: RoutePort;
  /** Where it is absent, tables are read at once. */
  readonly tables?: TableReader | undefined;
  readonly instances: InstanceTable;
  /** Guests whose journals could not be read. */
  readonly unreadGuests: ReadonlySet<GuestId>;
  readonly clock: Clock;
  readonly log: Log;
}

/** What this host's kernel holds of Switchover's and no guest uses. */
export class Orphans {
  readonly #parts: OrphansParts;

  constructor(parts: OrphansParts) {
    this.#parts = parts;
  }

  /**
   * Reads the links, and the table of each bridge that has a device of ours as a port, beside what counts. What was a
   * guest's at any time meanwhile is none. Throws as `RoutePort.dump` and `TableReader.read` do.
   */
  async list(): Promise<readonly Orphan[]> {
    const knownBefore = this.#knownDevices();
    const links = linksOf(await this.#read({ op: "dumpLinks" }));
    const bridges = new Set(findOrphans(links, [], knownBefore).map(({ bridge }) => bridge));
    const entries: FdbEntry[] = [];
    for (const { ifindex: bridgeIfindex, name } of links) {
      if (!bridges.has(name)) continue;
      const table = await this.#read({ op: "dumpFdb", bridgeIfindex });
      for (const message of table) if (message.type === "fdbEntry") entries.push(message.entry);
    }
    return findOrphans(links, entries, new Set([...knownBefore, ...this.#knownDevices()]));
  }

  async #read(dump: RouteDump): Promise<readonly RouteMessage[]> {
    const { route, tables } = this.#parts;
    return tables === undefined ? route.dump(dump) : tables.read(dump);
  }

  /**
   * Removes those of `wanted` that still are orphans and that no process holds, each looked at again just before, one in
   * a turn of the event loop: deleting a device takes the kernel milliseconds. Returns those that it removed. Throws
   * FAILED_PRECONDITION / JOURNAL_UNREADABLE where a guest's journal could not be read: what it used is not known.
   */
  async remove(wanted: readonly Orphan[]): Promise<readonly Orphan[]> {
    const { clock, log, unreadGuests } = this.#parts;
    const [unread] = unreadGuests;
    if (unread !== undefined) {
      throw new SwitchoverError(
        "FAILED_PRECONDITION",
        `The journal of guest ${unread} cannot be read: what looks like an orphan may be its own.`,
        { reason: "JOURNAL_UNREADABLE", metadata: { guest_id: unread } },
      );
    }
    const removed: Orphan[] = [];
    for (const orphan of wanted) {
      await new Promise<void>((resolve) => clock.after(0, resolve));
      const fields = {
        device: orphan.deviceName,
        bridge: orphan.bridge ?? "",
        mac: orphan.kind === "fdbEntry" ? orphan.macAddress : "",
      };
      try {
        if (!this.#isStill(orphan)) {
          log.info(fields, "Not removed: no orphan any more, or held by a process.");
          continue;
        }
        this.#carryOut(orphan);
        removed.push(orphan);
        log.warn(fields, "Removed an orphan.");
      } catch (thrown) {
        const { message, reason } = SwitchoverError.from(thrown);
        log.error({ ...fields, reason }, `An orphan could not be removed: ${message}`);
      }
    }
    return removed;
  }

  #isStill({ deviceName, ifindex }: Orphan): boolean {
    const [result] = this.#parts.route.execute(encodeBatch([{ op: "getLink", name: deviceName }]));
    const message = result?.ok === true ? result.messages[0] : undefined;
    if (message?.type !== "link") return false;
    const [device] = findOrphans([message.link], [], this.#knownDevices());
    return device?.ifindex === ifindex && device.use === "free";
  }

  #knownDevices(): ReadonlySet<string> {
    const instances = this.#parts.instances.all();
    return new Set(
      instances.flatMap(({ nics }) => nics.map((nic) => deviceTypeOf(nic).deviceName(nic) ?? "")),
    );
  }

  #carryOut(orphan: Orphan): void {
    const [result] = this.#parts.route.execute(encodeBatch([removalOf(orphan)]));
    if (result?.ok !== false) return;
    throw new SwitchoverError("ABORTED", `The kernel refused: ${kernelWords(result)}.`, {
      reason: result.name,
    });
  }
}

function removalOf(orphan: Orphan): RouteRequest {
  const { ifindex } = orphan;
  if (orphan.kind === "device") return { op: "deleteLink", ifindex };
  const { macAddress, vlan } = orphan;
  return { op: "deleteFdbEntry", ifindex, macAddress, ...(vlan === undefined ? {} : { vlan }) };
}

/** The same for the same thing in this kernel: a device that was made again under its name is another one. */
export function keyOf(orphan: Orphan): string {
  const { kind, deviceName, ifindex } = orphan;
  const of = orphan.kind === "fdbEntry" ? `${orphan.macAddress} ${orphan.vlan ?? ""}` : "";
  return [kind, deviceName, ifindex, of].join(" ");
}

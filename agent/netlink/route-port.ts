import type { DeviceAddress } from "./address.ts";
import type { Link } from "./link.ts";
import type { MulticastEntry } from "./multicast.ts";
import type { FdbEntry } from "./neighbour.ts";
import type { Route } from "./route.ts";
import type { RouteBatch } from "./route-batch.ts";
import type { RouteDump } from "./route-request.ts";

/** What the kernel reports, as plain data. */
export type RouteMessage =
  | { readonly type: "link"; readonly link: Link }
  | { readonly type: "fdbEntry"; readonly entry: FdbEntry }
  | { readonly type: "multicastEntries"; readonly entries: readonly MulticastEntry[] }
  | { readonly type: "portVlans"; readonly ifindex: number; readonly vlans: readonly number[] }
  | { readonly type: "address"; readonly address: DeviceAddress }
  | { readonly type: "route"; readonly route: Route };

/** The kernel's answer to one request: acknowledged or replied to, or refused. */
export type RouteResult =
  | { readonly ok: true; readonly messages: readonly RouteMessage[] }
  | {
      readonly ok: false;
      readonly errno: number;
      /** `ENOENT`, `ENODEV`, ... */
      readonly name: string;
      /** The kernel's own words (extended ack), or empty. */
      readonly text: string;
    };

/**
 * The kernel's links, forwarding tables, addresses and routes: what device types plan for, and what a simulation stands in for
 * (by `batch.requests`; the bytes are for a socket only).
 */
export interface RoutePort {
  /**
   * Carries out the requests in order, also after one is refused, and returns one result a request.
   * Throws UNAVAILABLE (ENOBUFS) or DEADLINE_EXCEEDED where answers were lost: what was done is then unknown,
   * and has to be read back.
   */
  execute(batch: RouteBatch): RouteResult[];
  /**
   * Carries the requests out soon, without being waited for, and before whatever is changed later of the devices that they
   * name (`ifindex`). A refusal is told to the log alone. Missing where nothing can be put off.
   */
  readonly executeSoon?: (batch: RouteBatch) => void;
  /** Makes ahead what `execute` needs of the batch, so that it has only to be sent when it counts. Changes nothing. */
  ready(batch: RouteBatch): void;
  /** Reads a table. Throws as `execute` does, and UNAVAILABLE (DUMP_INTERRUPTED) where it never held still. */
  dump(dump: RouteDump): RouteMessage[];
}

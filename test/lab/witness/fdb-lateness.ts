import { encodeBatch } from "../../../agent/netlink/route-batch.ts";
import { openRouteSocket, type RouteSocket } from "../../../agent/netlink/route-socket.ts";
import { SwitchoverError } from "../../../proto/error.ts";
import { parseMacAddress } from "../../../proto/mac-address.ts";
import { joinNetworkNamespace } from "../network-namespace.ts";
import { unixMicros } from "../realtime-clock.ts";
import type { LabHost } from "../topology.ts";
import { FdbWitness } from "./fdb-witness.ts";

const SAMPLE_EVERY_MS = 20;

/**
 * How late a witness of a host's FDB stamps what happens, measured by changes whose time is known: an entry of an address
 * that nobody has comes and goes on the uplink, and the kernel's acknowledgement of each is timed beside it.
 */
export class FdbLateness {
  readonly #witness: FdbWitness;
  readonly #route: RouteSocket;
  readonly #ifindex: number;
  readonly #mac: string;
  readonly #acknowledgedAtUnixUs: number[] = [];
  readonly #timer: NodeJS.Timeout;

  private constructor(witness: FdbWitness, route: RouteSocket, ifindex: number, mac: string) {
    this.#witness = witness;
    this.#route = route;
    this.#ifindex = ifindex;
    this.#mac = mac;
    this.#timer = setInterval(() => this.#change(), SAMPLE_EVERY_MS);
  }

  /** Begins to measure, by a witness of its own. `number` keeps apart those of several hosts. */
  static async start(host: LabHost, number: number): Promise<FdbLateness> {
    const mac = `02:5e:7a:1f:00:${number.toString(16).padStart(2, "0")}`;
    const witness = await FdbWitness.start(host, [mac]);
    const leave = joinNetworkNamespace(host.namespace);
    try {
      const route = openRouteSocket();
      const [found] = route.execute(encodeBatch([{ op: "getLink", name: host.uplink }]));
      const [message] = found?.ok === true ? found.messages : [];
      if (message?.type === "link") return new FdbLateness(witness, route, message.link.ifindex, mac);
      route.close();
      throw new SwitchoverError("INTERNAL", `${host.name} has no uplink.`, { reason: "LAB_BAD_OUTPUT" });
    } finally {
      leave();
    }
  }

  #change(): void {
    const macAddress = parseMacAddress(this.#mac, "mac");
    const isThere = this.#acknowledgedAtUnixUs.length % 2 === 1;
    const [result] = this.#route.execute(
      encodeBatch([
        isThere
          ? { op: "deleteFdbEntry", ifindex: this.#ifindex, macAddress }
          : { op: "replaceFdbEntry", ifindex: this.#ifindex, macAddress, sticky: "plain" },
      ]),
    );
    if (result?.ok === true) this.#acknowledgedAtUnixUs.push(unixMicros());
  }

  /** Ends the measuring; by how much each change was stamped after its acknowledgement. Microseconds, in order of time. */
  async close(): Promise<readonly number[]> {
    clearInterval(this.#timer);
    if (this.#acknowledgedAtUnixUs.length % 2 === 1) this.#change();
    const records = await this.#witness.close();
    this.#route.close();
    if (records.length !== this.#acknowledgedAtUnixUs.length) {
      const counts = `${records.length} of ${this.#acknowledgedAtUnixUs.length}`;
      throw new SwitchoverError("INTERNAL", `The witness saw ${counts} changes.`, {
        reason: "LAB_BAD_OUTPUT",
      });
    }
    return records.map(({ atUnixUs }, index) => atUnixUs - (this.#acknowledgedAtUnixUs[index] ?? 0));
  }
}

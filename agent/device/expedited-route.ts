import type { RouteBatch } from "../netlink/route-batch.ts";
import type { RouteMessage, RoutePort, RouteResult } from "../netlink/route-port.ts";
import type { RouteDump } from "../netlink/route-request.ts";
import type { GracePeriods } from "./grace-periods.ts";

/** The same route, which has the kernel's grace periods short while it takes devices down or away. */
export class ExpeditedRoute implements RoutePort {
  readonly #route: RoutePort;
  readonly #gracePeriods: GracePeriods;
  /** Whether batches have the kernel wait: known ahead of those that are armed. */
  readonly #waits = new WeakMap<RouteBatch, boolean>();

  constructor(route: RoutePort, gracePeriods: GracePeriods) {
    this.#route = route;
    this.#gracePeriods = gracePeriods;
  }

  execute(batch: RouteBatch): RouteResult[] {
    if (!this.#hasToWait(batch)) return this.#route.execute(batch);
    return this.#gracePeriods.shorten(() => this.#route.execute(batch));
  }

  ready(batch: RouteBatch): void {
    if (this.#hasToWait(batch)) this.#gracePeriods.ready();
    this.#route.ready(batch);
  }

  dump(dump: RouteDump): RouteMessage[] {
    return this.#route.dump(dump);
  }

  #hasToWait(batch: RouteBatch): boolean {
    const known = this.#waits.get(batch);
    if (known !== undefined) return known;
    const waits = batch.requests.some(
      (request) =>
        request.op === "deleteLink" || (request.op === "setLink" && request.change.state === "down"),
    );
    this.#waits.set(batch, waits);
    return waits;
  }
}

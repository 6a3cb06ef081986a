import { encodeBatch, type RouteBatch } from "../../../agent/netlink/route-batch.ts";
import type { RouteMessage, RoutePort, RouteResult } from "../../../agent/netlink/route-port.ts";
import type { RouteDump } from "../../../agent/netlink/route-request.ts";
import type { PretendedKernel } from "../../unit/device-pretended-kernel.ts";
import type { SimulatedProcess } from "../engine/simulated-process.ts";
import type { Timeline } from "../engine/timeline.ts";

/** From a thread that comes at once to a kernel that takes its time for several devices. */
const DELAYS_US = [30, 400, 3_000, 17_000, 60_000];

/** A host's kernel as its agent asks it; what is put off comes later, or never where the agent dies before. */
export class PutOffRoute implements RoutePort {
  readonly #kernel: () => PretendedKernel;
  readonly #process: SimulatedProcess;
  readonly #timeline: Timeline;
  readonly #later = new Set<RouteBatch>();
  #count = 0;

  constructor(kernel: () => PretendedKernel, process: SimulatedProcess, timeline: Timeline) {
    this.#kernel = kernel;
    this.#process = process;
    this.#timeline = timeline;
  }

  execute(batch: RouteBatch): RouteResult[] {
    this.#process.mustLive();
    const changed = devicesOf(batch);
    for (const later of [...this.#later]) {
      if (devicesOf(later).some((ifindex) => changed.includes(ifindex))) this.#carryOut(later);
    }
    return this.#kernel().execute(batch);
  }

  executeSoon({ requests }: RouteBatch): void {
    this.#process.mustLive();
    // An object of its own: a guest may be stopped again before its last stop has ended.
    const later = encodeBatch(requests);
    this.#later.add(later);
    const delayUs = DELAYS_US[this.#count++ % DELAYS_US.length] ?? 0;
    this.#timeline.after(delayUs, () => this.#process.run(() => this.#carryOut(later)));
  }

  ready(): void {}

  dump(dump: RouteDump): RouteMessage[] {
    this.#process.mustLive();
    return this.#kernel().dump(dump);
  }

  #carryOut(later: RouteBatch): void {
    if (this.#later.delete(later)) this.#kernel().execute(later);
  }
}

function devicesOf({ requests }: RouteBatch): readonly number[] {
  return requests.flatMap((request) =>
    "ifindex" in request && request.op !== "getLink" ? [request.ifindex] : [],
  );
}

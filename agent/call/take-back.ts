import type { Fence } from "../../proto/epoch.ts";
import { isInDoubt } from "../guest/guest.ts";
import type { Host } from "../host.ts";
import type { Adopted, Instance } from "../instance/instance.ts";
import { isOver, noWayBack, reclaimVmm } from "./reclaim-vmm.ts";
import { requireVmm } from "./require-vmm.ts";

/**
 * Takes back a guest of which the journal has forgotten whose it is, for a caller who knows that it runs
 * nowhere else; journaled under the fence before anything is started. Throws FAILED_PRECONDITION / NO_WAY_BACK where its
 * VMM cannot go on, and / VMM_LOST.
 */
export async function takeBack(
  host: Host,
  { runner, vmm }: Adopted,
  fence: Fence,
  runState: string,
): Promise<void> {
  requireVmm(runner.guest);
  const { statusText } = await vmm.queryMigrate();
  const way = await reclaimVmm(vmm, isOver(statusText) ? "over" : "toBeCancelled", host.ports.clock);
  if (way === "none") throw noWayBack();
  // A VMM that gave its transfer up may have gone on by itself.
  if (!isInDoubt(runner.guest)) return;
  runner.order({ kind: "reclaimOrdered", atUnixUs: host.ports.clock.unixUs(), fence, runState });
}

/** The same by its owner's own statement; of a guest that is not in doubt that says nothing new. */
export async function takeBackForOwner(host: Host, instance: Instance): Promise<void> {
  const adopted = instance.requireAdopted();
  if (!isInDoubt(adopted.runner.guest)) return;
  await takeBack(host, adopted, host.newestFence(instance.guestId), "running");
}

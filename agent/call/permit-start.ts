import { SwitchoverError } from "../../proto/error.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  StartCpusRequest,
  StartCpusResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { parseGuestId } from "../../proto/ids.ts";
import { type Guest, holdsRightToRun } from "../guest/guest.ts";
import type { Host } from "../host.ts";
import type { Instance } from "../instance/instance.ts";
import { mayStart } from "../instance/vmm-demands.ts";
import { notOwner, requireNotMigrating, startRefused } from "./cpus.ts";
import { requireVmm } from "./require-vmm.ts";
import { takeBackForOwner } from "./take-back.ts";
import { wordForgotten } from "./word-forgotten.ts";

/** The memory of a guest may be on its way for longer: its owner asks again then. */
const PERMISSION_TIMEOUT_MS = 30_000;

/** The instance that the request means, where its owner drives its VMM; undefined where that is not plain. */
export function findExternal(host: Host, request: StartCpusRequest): Instance | undefined {
  const all = host.instances.ofGuest(parseGuestId(request.guestId, "guest_id"));
  const owners = all.filter(({ adopted }) => adopted !== null && holdsRightToRun(adopted.runner.guest));
  const named = all.filter(({ instanceId }) => instanceId === request.instanceId);
  const unnamed = owners.length > 0 ? owners : all;
  const meant = request.instanceId === "" ? unnamed : named;
  const [only, ...others] = meant;
  return others.length === 0 && only?.adopted?.source.kind === "external" ? only : undefined;
}

/**
 * Answers once the CPUs may be started: all NICs registered and read back, and at a destination the hand-off here and the
 * start journaled. The gate gets there by itself; this waits for it, and orders a start only where the right to run is
 * held already.
 */
export async function permitStart(
  host: Host,
  instance: Instance,
  request: StartCpusRequest,
  signal?: AbortSignal,
): Promise<StartCpusResponse> {
  const { runner } = instance.requireAdopted();
  if (request.runsNowhereElse === true) await takeBackForOwner(host, instance);
  const before = runner.guest;
  requireVmm(before);
  if (before.role.kind === "forgotten") throw wordForgotten(before);
  const { kind } = before.role;
  if (kind === "relinquished" || kind === "fenced") throw notOwner(before);
  if (before.cpus.kind === "running") return { applied: Applied.ALREADY_SO, instance: instance.message() };
  requireNotMigrating(before);
  if (holdsRightToRun(before)) {
    runner.order({ kind: "startOrdered", atUnixUs: host.ports.clock.unixUs() });
  }
  const awaited = "the hand-off and the registration of the NICs";
  const permitted = runner.waitUntil((now) => mayStart(now) || isOver(now), PERMISSION_TIMEOUT_MS, awaited);
  const guest = await unlessLeft(permitted, signal);
  if (!mayStart(guest) && guest.cpus.kind !== "running") throw refusalOf(before, guest);
  return { applied: Applied.CHANGED, instance: instance.message() };
}

/** Rejects with the signal's reason once the caller has left: nobody would hear the permission. */
function unlessLeft<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const leave = (): void => reject(signal.reason);
    if (signal.aborted) leave();
    signal.addEventListener("abort", leave, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", leave));
  });
}

/** It runs, or is not going to by this call. */
function isOver({ cpus, role, vmm }: Guest): boolean {
  if (cpus.kind === "running" || vmm === "lost") return true;
  if (role.kind === "resident") return role.start === "none";
  return role.kind === "relinquished" || role.kind === "fenced";
}

function refusalOf(before: Guest, guest: Guest): SwitchoverError {
  if (!holdsRightToRun(guest)) return notOwner(guest);
  if (holdsRightToRun(before) || guest.vmm === "lost") return startRefused();
  return new SwitchoverError(
    "FAILED_PRECONDITION",
    "The guest came stopped, as its owner had it: call again to start it.",
    { reason: "TAKEN_OVER_PAUSED", field: "guest_id" },
  );
}

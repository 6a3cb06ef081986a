import { SwitchoverError } from "../../proto/error.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  StartCpusRequest,
  StartCpusResponse,
  StopCpusRequest,
  StopCpusResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { parseGuestId } from "../../proto/ids.ts";
import { type Guest, holdsRightToRun, isInDoubt } from "../guest/guest.ts";
import type { Host } from "../host.ts";
import type { Instance } from "../instance/instance.ts";
import type { VmmTold } from "../vmm/vmm-report.ts";
import { requireVmm } from "./require-vmm.ts";
import { takeBackForOwner } from "./take-back.ts";
import { wordForgotten } from "./word-forgotten.ts";

const ENDED_WITHOUT_SWITCH: ReadonlySet<string> = new Set(["failed", "cancelled"]);
/** The VMM may wait for disks when its CPUs start or stop. */
const CPUS_CHANGE_TIMEOUT_MS = 10_000;

/** One finds a guest that a failed switchover brings back, one stops that, and one has what stays registered deregistered. */
const MOST_STOP_ORDERS = 3;

/** Who calls drives the VMM, and has stopped it. */
const STOPPED_BY_OWNER: VmmTold = {
  cpus: "stopped",
  runState: "paused",
  transferStatus: "",
  startRefusal: "",
  observedAtUnixUs: 0,
};

export async function startCpus(host: Host, request: StartCpusRequest): Promise<StartCpusResponse> {
  const instance = await resolveStarter(host, request);
  const { runner } = instance.requireAdopted();
  if (runner.guest.cpus.kind === "running")
    return { applied: Applied.ALREADY_SO, instance: instance.message() };
  requireNotMigrating(runner.guest);
  runner.order({ kind: "startOrdered", atUnixUs: host.ports.clock.unixUs() });
  const guest = await runner.waitUntil(
    (now) => now.cpus.kind === "running" || !isStarting(now),
    CPUS_CHANGE_TIMEOUT_MS,
    "the CPUs to run",
  );
  if (guest.cpus.kind !== "running") throw startRefused();
  return { applied: Applied.CHANGED, instance: instance.message() };
}

export async function stopCpus(host: Host, request: StopCpusRequest): Promise<StopCpusResponse> {
  const instance = resolveOwner(host, request);
  const { runner } = instance.requireAdopted();
  if (isStopped(runner.guest) && !isToRunAgain(runner.guest))
    return { applied: Applied.ALREADY_SO, instance: instance.message() };
  let guest = await orderStop(host, instance);
  for (let orders = 1; orders < MOST_STOP_ORDERS && isStopToBeOrderedAgain(guest); orders += 1) {
    guest = await orderStop(host, instance);
  }
  if (!isStopped(guest) && !isHandedOffStopped(guest)) {
    throw new SwitchoverError(
      "FAILED_PRECONDITION",
      "The guest is switching over to another host: its CPUs are no longer this host's to stop.",
      { reason: "SWITCHING_OVER", field: "guest_id" },
    );
  }
  return { applied: Applied.CHANGED, instance: instance.message() };
}

/**
 * Orders it and waits until they have stopped for good, or stand for another reason; or run, where they stood: to a QEMU
 * that is about to resume its guest, after its transfer failed, `stop` is no word, and it is to be told once it has.
 */
async function orderStop(host: Host, instance: Instance): Promise<Guest> {
  const { runner, source } = instance.requireAdopted();
  const { cpus } = runner.guest;
  if (source.kind === "external" && cpus.kind === "running") source.vmm.report(STOPPED_BY_OWNER);
  else runner.order({ kind: "stopOrdered", atUnixUs: host.ports.clock.unixUs() });
  return await runner.waitUntil(
    (now) =>
      // An owner's stop is one for an agent that comes back, too: what is not journaled is not answered.
      (isStopped(now) && runner.isJournaled) ||
      isSwitchedOver(now) ||
      now.stay.kind === "stays" ||
      (cpus.kind === "stopped" && isRunning(now)),
    CPUS_CHANGE_TIMEOUT_MS,
    "the CPUs to stop and the NICs to be deregistered",
  );
}

/**
 * The instance that is to be started: as `resolveOwner`, taken back first where its owner states that; or one that no
 * migration has claimed and whose owner had it load a saved guest. Throws FAILED_PRECONDITION / NOT_OWNER while that
 * still waits for its guest.
 */
async function resolveStarter(host: Host, request: StartCpusRequest): Promise<Instance> {
  const guestId = parseGuestId(request.guestId, "guest_id");
  const instance = host.instances.resolve(guestId, request.instanceId, isOwner);
  if (instance.requireAdopted().runner.guest.role.kind === "vacant") await readLoaded(host, instance);
  if (request.runsNowhereElse === true) await takeBackForOwner(host, instance);
  const { guest } = instance.requireAdopted().runner;
  if (guest.role.kind !== "vacant") return resolveOwner(host, request);
  if (isInDoubt(guest)) throw wordForgotten(guest);
  return instance;
}

/** Has the gate know in what its VMM, which no migration has claimed, stands once it has loaded a guest. */
async function readLoaded(host: Host, instance: Instance): Promise<void> {
  const { runner, vmm } = instance.requireAdopted();
  requireVmm(runner.guest);
  refuseSecondInstance(host, instance);
  const { runStateText: runState } = await vmm.queryStatus();
  if (runState === "inmigrate") {
    throw new SwitchoverError(
      "FAILED_PRECONDITION",
      `Instance ${instance.instanceId} of guest ${instance.guestId} waits for its guest: load one first, or migrate one to it.`,
      { reason: "NOT_OWNER", field: "instance_id", metadata: { role: "vacant", run_state: runState } },
    );
  }
  const atUnixUs = host.ports.clock.unixUs();
  runner.dispatch({ kind: "runStateRead", purpose: "stopCause", atUnixUs, runState });
}

/** What was saved of a guest that still runs here is an older state of it. */
function refuseSecondInstance(host: Host, instance: Instance): void {
  const running = host.instances
    .ofGuest(instance.guestId)
    .find((other) => isOwner(other) && other.adopted?.runner.guest.cpus.kind === "running");
  if (running === undefined) return;
  throw new SwitchoverError(
    "FAILED_PRECONDITION",
    `Instance ${running.instanceId} of guest ${instance.guestId} runs here: stop it first.`,
    { reason: "GUEST_RUNS", field: "instance_id" },
  );
}

function isOwner({ adopted }: Instance): boolean {
  return adopted !== null && holdsRightToRun(adopted.runner.guest);
}

function resolveOwner(
  host: Host,
  request: { readonly guestId: string; readonly instanceId: string },
): Instance {
  const guestId = parseGuestId(request.guestId, "guest_id");
  const instance = host.instances.resolve(guestId, request.instanceId, isOwner);
  const { guest } = instance.requireAdopted().runner;
  if (holdsRightToRun(guest)) {
    requireVmm(guest);
    return instance;
  }
  if (guest.role.kind === "forgotten") throw wordForgotten(guest);
  throw notOwner(guest);
}

/** Throws FAILED_PRECONDITION / MIGRATING. */
export function requireNotMigrating(guest: Guest): void {
  if (!isMigrating(guest)) return;
  throw new SwitchoverError(
    "FAILED_PRECONDITION",
    "The guest is being migrated: start it when that has ended.",
    { reason: "MIGRATING", field: "guest_id" },
  );
}

export function startRefused(): SwitchoverError {
  return new SwitchoverError("ABORTED", "The CPUs were not started: see the guest's alarms for the cause.", {
    reason: "START_REFUSED",
    field: "guest_id",
  });
}

export function notOwner({ guestId, instanceId, role }: Guest): SwitchoverError {
  return new SwitchoverError(
    "FAILED_PRECONDITION",
    `Instance ${instanceId} of guest ${guestId} has no right to run.`,
    { reason: "NOT_OWNER", field: "instance_id", metadata: { role: role.kind } },
  );
}

/**
 * Whoever orders a stop here is promised what a pause by others is not: nothing stays registered. Nor does what a switchover
 * had stopped, and which has come back meanwhile, start again, or run on.
 */
function isStopToBeOrderedAgain(guest: Guest): boolean {
  return guest.stay.kind === "stays" || isToRunAgain(guest) || isRunning(guest);
}

/** Ordered, and neither running nor refused so far. */
export function isStarting(guest: Guest): boolean {
  return guest.role.kind === "resident" && guest.role.start !== "none";
}

/** Armed, with a transfer that has neither failed nor been cancelled. */
function isMigrating({ role, migration }: Guest): boolean {
  return role.kind === "outgoing" && !ENDED_WITHOUT_SWITCH.has(migration?.transferStatus ?? "none");
}

/** Stopped by somebody, not by the switchover, which also stops the CPUs but only here. */
function isStopped({ cpus, registration, role }: Guest): boolean {
  if (role.kind === "relinquished" || (role.kind === "outgoing" && role.stop !== null)) return false;
  if (role.kind === "resident" && role.start !== "none") return false;
  return cpus.kind === "stopped" && registration === "quarantined";
}

/** As its owner's: one that runs without the right to is the guard's to stop. */
function isRunning(guest: Guest): boolean {
  return guest.cpus.kind === "running" && holdsRightToRun(guest);
}

/** It stands by a switchover's stop alone, which ends with a start. */
function isToRunAgain({ role }: Guest): boolean {
  return role.kind === "resident" && role.stoppedBy !== "owner";
}

/** Stopped before its switchover, and so taken over: the word says it to the other host, and for good. */
function isHandedOffStopped({ role }: Guest): boolean {
  return role.kind === "relinquished" && role.handOff.runState !== "running";
}

function isSwitchedOver({ role }: Guest): boolean {
  return role.kind === "relinquished" || (role.kind === "outgoing" && role.stop?.cause === "switchover");
}

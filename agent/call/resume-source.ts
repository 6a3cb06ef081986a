import { SwitchoverError } from "../../proto/error.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  ResumeSourceRequest,
  ResumeSourceResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { type Guest, holdsRightToRun, type Relinquished } from "../guest/guest.ts";
import type { GuestRunner } from "../guest/guest-runner.ts";
import type { Host } from "../host.ts";
import { saidUnder } from "../journal/said-under.ts";
import { admitMigrationCall, type MigrationCall } from "./migration-call.ts";
import { NO_WAY_BACK, noWayBack, reclaimVmm } from "./reclaim-vmm.ts";
import { takeBack } from "./take-back.ts";

/** The VMM may wait for disks when its CPUs start. */
const CPUS_START_TIMEOUT_MS = 10_000;
/** Its coordinator asks again; the guest's other calls wait behind this one. */
const CPUS_STOP_TIMEOUT_MS = 3_000;

/**
 * Lets the source run its guest again. After it kept it, the right is here and nothing moves; after a hand-back the
 * request's epoch is above that of the word, and the journal has the right back before anything is registered. So it is
 * where the journal has forgotten which of the two it was: the coordinator has the destination's word.
 */
export async function resumeSource(host: Host, request: ResumeSourceRequest): Promise<ResumeSourceResponse> {
  const call = admitMigrationCall(host, request);
  const { instance, adopted, fence } = call;
  const { runner } = adopted;
  const atUnixUs = host.ports.clock.unixUs();
  const { role: found } = runner.guest;
  // Only the journal is yet to take that the guest stays.
  if (found.kind === "outgoing" && found.keep === "decided")
    runner.order({ kind: "keepOrdered", atUnixUs, fence });
  const { role } = runner.guest;
  if (runner.guest.cpus.kind === "running" && holdsRightToRun(runner.guest)) {
    return { applied: Applied.ALREADY_SO, runState: "running" };
  }
  if (role.kind === "resident" && role.stoppedBy === "unread") await awaitStart(runner);
  if (role.kind === "relinquished") await retake(host, call, role);
  else if (role.kind === "forgotten") await takeBackOrDecline(host, call, request.runState || "running");
  else if (role.kind === "resident") runner.order({ kind: "resumeOrdered", atUnixUs, fence });
  else throw notKept(runner.guest);
  const guest = await awaitStart(runner);
  await instance.journal.sync();
  if (guest.cpus.kind === "running") return { applied: Applied.CHANGED, runState: "running" };
  if (guest.role.kind !== "resident" || guest.role.stoppedBy === "owner") {
    return { applied: Applied.ALREADY_SO, runState: guest.cpus.runState };
  }
  throw new SwitchoverError("ABORTED", "The CPUs were not started: see the guest's alarms for the cause.", {
    reason: "START_REFUSED",
    field: "guest_id",
  });
}

/** What it declines is journaled: the right is then the destination's to be given. */
async function takeBackOrDecline(host: Host, call: MigrationCall, runState: string): Promise<void> {
  const { adopted, fence, instance } = call;
  if (saidUnder(instance.journal.entries, fence.epoch, "declined") !== undefined) throw noWayBack();
  try {
    await takeBack(host, adopted, fence, runState);
  } catch (thrown) {
    const { guest } = adopted.runner;
    const isDeclined = SwitchoverError.from(thrown).reason === NO_WAY_BACK && guest.role.kind === "forgotten";
    if (isDeclined) {
      adopted.runner.order({ kind: "declineOrdered", atUnixUs: host.ports.clock.unixUs(), fence });
      await instance.journal.sync();
    }
    throw thrown;
  }
}

async function retake(
  host: Host,
  { adopted, fence, instance }: MigrationCall,
  role: Relinquished,
): Promise<void> {
  const { runner, vmm } = adopted;
  const handedOff = role.handOff.fence?.epoch ?? 0n;
  if (fence.epoch <= handedOff) {
    throw new SwitchoverError(
      "FAILED_PRECONDITION",
      `This instance handed the guest off under epoch ${handedOff}: only the destination's word, under a higher one, brings it back.`,
      { reason: "HANDED_OFF", field: "fence.epoch" },
    );
  }
  const { entries } = instance.journal;
  if (saidUnder(entries, fence.epoch, "declined") !== undefined) throw noWayBack();
  const transfer = runner.guest.migration?.mode === "postCopy" ? "toBeCancelled" : "over";
  const way = runner.guest.vmm === "lost" ? "none" : await reclaimVmm(vmm, transfer, host.ports.clock);
  await awaitStop(runner);
  const atUnixUs = host.ports.clock.unixUs();
  if (way === "back" && runner.guest.vmm === "connected") {
    runner.order({ kind: "retakeOrdered", atUnixUs, fence });
    return;
  }
  runner.order({ kind: "declineOrdered", atUnixUs, fence });
  throw noWayBack();
}

/**
 * CPUs that run without the right are told to stop until they stand: before the guest is taken back, for heard after that
 * their stop would leave it standing as its owner's.
 */
function awaitStop(runner: GuestRunner): Promise<Guest> {
  return runner.waitUntil(
    ({ cpus }) => cpus.kind === "stopped",
    CPUS_STOP_TIMEOUT_MS,
    "the CPUs, which run without the right, to stop",
  );
}

function awaitStart(runner: GuestRunner): Promise<Guest> {
  return runner.waitUntil(
    ({ cpus, role }) =>
      cpus.kind === "running" ||
      role.kind !== "resident" ||
      (role.start === "none" && role.stoppedBy !== "unread"),
    CPUS_START_TIMEOUT_MS,
    "the CPUs to run",
  );
}

function notKept({ instanceId, role }: Guest): SwitchoverError {
  return new SwitchoverError(
    "FAILED_PRECONDITION",
    `Instance ${instanceId} has neither kept the guest nor handed it off.`,
    { reason: "NOT_KEPT", field: "instance_id", metadata: { role: role.kind } },
  );
}

import { compareFences, type Fence } from "../../proto/epoch.ts";
import type { GuestId, HostId } from "../../proto/ids.ts";
import type { WordOf } from "../journal/said-under.ts";
import { awaitWord } from "./await-word.ts";
import { endVmm } from "./fence.ts";
import {
  type Guest,
  type GuestNic,
  holdsRightToRun,
  type MigrationTie,
  NO_STAY,
  newTie,
  type Outgoing,
  RESIDENT,
  type Resident,
  type Role,
  type Stay,
} from "./guest.ts";
import type { GuestEvent } from "./guest-event.ts";
import type { GuestOperation } from "./guest-operation.ts";
import { withholdingIn } from "./nic-changes.ts";
import type { Memory, Standing } from "./remember.ts";
import { type Step, step } from "./step.ts";
import { tellAgain, type WasTold } from "./tell-again.ts";

/** What an agent that comes back finds of a VMM. */
export type FoundVmm =
  | {
      readonly vmm: "connected";
      readonly runState: string;
      readonly running: boolean;
      /** QEMU's migration status; a completed one may be from before this attempt. */
      readonly transferStatus: string;
      /** Whether the kernel has all registrations; `unread` where no guest is to stay registered with its CPUs stopped. */
      readonly nics: "registered" | "notRegistered" | "unread";
    }
  | { readonly vmm: "lost"; readonly sentence: string };

/** Run states in which a VMM stands that was told to start its guest and has not got so far. */
const NOT_STARTED: ReadonlySet<string> = new Set(["paused", "postmigrate", "finish-migrate", "prelaunch"]);
/** Run states that QEMU enters at the end of a transfer and at no other time. */
const SWITCHED: ReadonlySet<string> = new Set(["finish-migrate", "postmigrate"]);

/** When a VMM did what nobody heard. */
const UNKNOWN = 0;

export interface Recalled {
  readonly adopted: Step;
  /** What was missed, in an order in which it can have happened: the gate hears it and finishes or rolls back. */
  readonly missed: readonly GuestEvent[];
}

/** Whatever the guest's other instances have acted on here counts for one that no migration has claimed. */
function fenceOf({ claim, fence }: Memory, newestFence: Fence): Fence {
  return claim === null && compareFences(newestFence, fence) > 0 ? newestFence : fence;
}

/**
 * An instance as its journal and its VMM leave it, for an agent that was killed at any line. The right to run is the
 * journal's alone; what the CPUs and the transfer did meanwhile is told to the gate as if it had just been heard, so that
 * one rule serves both. The kernel is brought in line by what the gate does then: registered where the CPUs run with the
 * right to, deregistered everywhere else.
 */
export function recall(
  guestId: GuestId,
  hostId: HostId,
  bootId: string,
  memory: Memory,
  newestFence: Fence,
  found: FoundVmm,
  atUnixUs: number,
  wasTold: WasTold,
  staysRegisteredFor: readonly string[],
): Recalled {
  const running = found.vmm === "connected" && found.running;
  const role = roleOf(memory, found, bootId);
  const guest: Guest = {
    guestId,
    instanceId: memory.instanceId,
    hostId,
    fence: fenceOf(memory, newestFence),
    cpus: running
      ? { kind: "running" }
      : { kind: "stopped", runState: found.vmm === "lost" ? "gone" : found.runState },
    nics: nicsIn(memory),
    // What is not known to be registered is registered, or deregistered, first of all.
    registration: "quarantined",
    staysRegisteredFor,
    stay: stayOf(role, found, staysRegisteredFor),
    registrationFailures: 0,
    drift: null,
    migration: tieOf(memory, found),
    role,
    vmm: "connected",
  };
  const missed = missedBy(role, memory, found).map((event) => ({ ...event, atUnixUs }) as GuestEvent);
  const news = tellAgain(guest, memory, wasTold, atUnixUs);
  return { adopted: step(guest, [...withholdingIn(guest), ...firstOf(guest, role), ...news]), missed };
}

function nicsIn({ nics, waitingNicIds, withheldNicIds }: Memory): readonly GuestNic[] {
  return nics.map(({ nicId, macAddress }) => {
    if (withheldNicIds.includes(nicId)) return { nicId, macAddress, delivery: "withheld" };
    return { nicId, macAddress, delivery: waitingNicIds.includes(nicId) ? "waits" : "withCpus" };
  });
}

/** The migration whose name the instance's events are told under, with the status that its VMM had before it was missed. */
function tieOf({ claim, standing }: Memory, found: FoundVmm): MigrationTie | null {
  if (claim === null) return null;
  const side = claim.kind === "armed" ? "source" : "destination";
  const bootId = claim.kind === "armed" ? "" : claim.bootId;
  const tie = newTie({ migrationId: claim.migrationId, mode: claim.mode, side, bootId });
  const isHeard = standing.kind !== "outgoing" && standing.kind !== "incoming";
  return isHeard && found.vmm === "connected" ? { ...tie, transferStatus: found.transferStatus } : tie;
}

function roleOf({ adopted, claim, released, standing }: Memory, found: FoundVmm, bootId: string): Role {
  switch (standing.kind) {
    case "unclaimed": {
      const waits = found.vmm === "connected" ? found.runState === "inmigrate" : adopted?.waits === true;
      if (waits) return { kind: "vacant", load: adopted?.switched === true ? "begunBefore" : "owners" };
      return adopted?.switched === true ? { kind: "forgotten", released } : RESIDENT;
    }
    case "outgoing":
      return claim?.kind === "armed" ? outgoingOf(claim, standing) : RESIDENT;
    case "relinquished":
      return { kind: "relinquished", handOff: standing.handOff, released };
    case "incoming":
      return claim?.kind === "prepared"
        ? {
            ...awaitWord(claim.sourceHostId, claim.bootId === bootId ? "whole" : "mayLackLastWords"),
            wayBack: standing.wayBack,
          }
        : { kind: "vacant", load: "begunBefore" };
    case "fenced": {
      const isHeld = claim?.mode === "postCopy" && released === "kept" && found.vmm === "connected";
      const vmm = isHeld ? "heldForSource" : "ending";
      return { kind: "fenced", sentence: standing.sentence, vmm, released };
    }
    case "resident":
      return residentOf(standing, found);
  }
}

function residentOf(standing: Standing & { kind: "resident" }, found: FoundVmm): Resident {
  switch (standing.start) {
    case "done":
      return RESIDENT;
    case "stoppedBySwitchover":
      // It may have run since, and been stopped anew: the run state tells.
      return {
        ...RESIDENT,
        stoppedBy: found.vmm === "connected" && !found.running ? "unread" : "switchover",
      };
    case "starting": {
      const { contSentAtUnixUs } = standing;
      if (found.vmm === "lost" || found.running) return { ...RESIDENT, start: "contSent", contSentAtUnixUs };
      // `cont` was journaled, and the CPUs stand as before it: it never left, or was refused.
      return NOT_STARTED.has(found.runState)
        ? { ...RESIDENT, start: "registering", contSentAtUnixUs, stoppedBy: "switchover" }
        : RESIDENT;
    }
  }
}

function outgoingOf(armed: WordOf<"armed">, standing: Standing & { kind: "outgoing" }): Outgoing {
  return {
    kind: "outgoing",
    destinationHostId: armed.destinationHostId,
    pointOfNoReturn: armed.pointOfNoReturn,
    runStateBefore: standing.runState,
    stop: null,
    confirmations: 0,
    canFailBack: true,
    transfer: standing.transfer,
    postCopy: standing.postCopy,
    keep: "notAsked",
  };
}

/** As the kernel has it: one that was deregistered by order, or never registered, is not registered for its pause. */
function stayOf(role: Role, found: FoundVmm, staysRegisteredFor: readonly string[]): Stay {
  if (found.vmm === "lost" || found.running || found.nics !== "registered") return NO_STAY;
  const standsByItself =
    (role.kind === "resident" && role.start === "none" && role.stoppedBy !== "switchover") ||
    (role.kind === "outgoing" && role.runStateBefore !== "running");
  return standsByItself && staysRegisteredFor.includes(found.runState) ? { kind: "stays" } : NO_STAY;
}

/** What is done before anything missed is heard: the kernel first. */
function firstOf(guest: Guest, role: Role): readonly GuestOperation[] {
  const isStarting = role.kind === "resident" && role.start === "registering";
  const isToBeRegistered =
    holdsRightToRun(guest) && (guest.cpus.kind === "running" || isStarting || guest.stay.kind === "stays");
  const kernel = { kind: isToBeRegistered ? "registerNics" : "deregisterNics" } as const;
  switch (role.kind) {
    case "relinquished":
      // The word may have been on its way when the agent was killed; who has it already passes over it.
      return [
        kernel,
        ...(role.released === "kept" ? [{ kind: "publishHandOff", handOff: role.handOff } as const] : []),
      ];
    case "fenced":
      return [kernel, ...(role.vmm === "ending" ? endVmm(guest, role) : [])];
    default:
      return [kernel];
  }
}

type Untimed<Event> = Event extends unknown ? Omit<Event, "atUnixUs"> : never;

function missedBy(role: Role, memory: Memory, found: FoundVmm): readonly Untimed<GuestEvent>[] {
  if (found.vmm === "lost") {
    const lost = { kind: "vmmLost", sentence: found.sentence } as const;
    // A destination has all of a live guest only after its CPUs stopped: the word lets it start, if it has.
    const mayBeWhole = role.kind === "outgoing" && role.transfer === "begun" && memory.claim?.mode === "live";
    return mayBeWhole ? [{ kind: "cpusStopped", stoppedAtUnixUs: UNKNOWN }, lost] : [lost];
  }
  const resumed = { kind: "cpusResumed", resumedAtUnixUs: UNKNOWN } as const;
  switch (role.kind) {
    case "outgoing":
      if (found.running) {
        return [...(role.runStateBefore === "running" ? [] : [resumed]), ...transferOf(role, found, memory)];
      }
      // A guest that its owner had stopped has not stopped anew.
      if (role.runStateBefore !== "running") return transferOf(role, found, memory);
      return [
        { kind: "cpusStopped", stoppedAtUnixUs: UNKNOWN },
        stopCauseOf(found),
        ...transferOf(role, found, memory),
      ];
    case "incoming":
      return [...(found.running ? [resumed] : []), ...statusOf(found)];
    case "resident": {
      const wasStarting = memory.standing.kind === "resident" && memory.standing.start !== "done";
      const status = memory.claim?.kind === "prepared" ? statusOf(found) : [];
      if (role.stoppedBy === "unread") return [stopCauseOf(found), ...status];
      return found.running && wasStarting ? [resumed, ...status] : status;
    }
    case "relinquished":
      return [...(found.running ? [resumed] : []), ...(role.released === "kept" ? statusOf(found) : [])];
    case "fenced":
      // It may be given the guest after all, and its pages may be complete by then.
      return [...(found.running ? [resumed] : []), ...(role.vmm === "heldForSource" ? statusOf(found) : [])];
    case "forgotten":
    case "vacant":
      return found.running ? [resumed] : [];
  }
}

function stopCauseOf({ runState }: FoundVmm & { vmm: "connected" }): Untimed<GuestEvent> {
  return { kind: "runStateRead", purpose: "stopCause", runState };
}

/** How far the pages have come while nobody listened. */
function statusOf({
  transferStatus: status,
}: FoundVmm & { vmm: "connected" }): readonly Untimed<GuestEvent>[] {
  return status === "none" ? [] : [{ kind: "transferStatusChanged", status }];
}

/** The transfer's status, where it can be this attempt's: a QEMU keeps the last one of an earlier transfer. */
function transferOf(
  role: Outgoing,
  found: FoundVmm & { vmm: "connected" },
  { claim }: Memory,
): readonly Untimed<GuestEvent>[] {
  const { runState, transferStatus: status } = found;
  if (role.transfer === "notBegun" || status === "none") return [];
  if (status === "completed" && !SWITCHED.has(runState)) return [];
  // One that stood so when it was armed, and has not run since, cannot have been switched again.
  const stoodSo =
    claim?.kind === "armed" && SWITCHED.has(claim.runState) && SWITCHED.has(role.runStateBefore);
  if (status === "completed" && stoodSo) return [];
  return [{ kind: "transferStatusChanged", status }];
}

import { evolve } from "../../agent/guest/evolve.ts";
import {
  type Guest,
  type MigrationMode,
  type PointOfNoReturn,
  RESIDENT,
  type Resident,
} from "../../agent/guest/guest.ts";
import type { GuestEvent } from "../../agent/guest/guest-event.ts";
import type { GuestOperation } from "../../agent/guest/guest-operation.ts";
import type { HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import type { GuestId, HostId, InstanceId, MigrationId } from "../../proto/ids.ts";

export const GUEST = "web" as GuestId;
export const SOURCE = "ha" as HostId;
export const DESTINATION = "hb" as HostId;
export const MIGRATION = "web-mk3v0q8ya1z9" as MigrationId;
export const FENCE = { epoch: 7n, revision: 3n };

export type Heard = Untimed<GuestEvent>;

type Untimed<Event> = Event extends unknown ? Omit<Event, "atUnixUs"> : never;

/** What the gate wanted done for one event, told in a word each. */
export interface Answer {
  readonly guest: Guest;
  /** Operations but publications, `journal` and `readRunState` with what they are about. */
  readonly done: readonly string[];
  /** Names of the feed events. */
  readonly told: readonly string[];
  readonly operations: readonly GuestOperation[];
}

/** Feeds events to the gate one after another and returns the answer to each. */
export function play(
  guest: Guest,
  ...events: readonly Untimed<GuestEvent>[]
): readonly [Answer, ...Answer[]] {
  let atUnixUs = 1_000;
  let now = guest;
  const answers = events.map((event) => {
    const { guest: next, operations } = evolve(now, { ...event, atUnixUs: atUnixUs++ } as GuestEvent);
    now = next;
    return {
      guest: next,
      operations,
      done: operations.flatMap(operationWord),
      told: operations.flatMap(toldOf),
    };
  });
  const [first, ...rest] = answers;
  if (first === undefined) throw new Error("no event was given");
  return [first, ...rest];
}

/** The answer to the last of the events. */
export function last(answers: readonly [Answer, ...Answer[]]): Answer {
  return answers.at(-1) ?? answers[0];
}

export function residentGuest(cpus: "running" | "paused" | "prelaunch"): Guest {
  const role: Resident = RESIDENT;
  return {
    guestId: GUEST,
    instanceId: "a1" as InstanceId,
    hostId: SOURCE,
    fence: { epoch: 0n, revision: 0n },
    cpus: cpus === "running" ? { kind: "running" } : { kind: "stopped", runState: cpus },
    nics: [],
    registration: cpus === "running" ? "registered" : "quarantined",
    staysRegisteredFor: [],
    stay: { kind: "none" },
    registrationFailures: 0,
    drift: null,
    migration: null,
    role,
    vmm: "connected",
  };
}

export function vacantGuest(): Guest {
  return {
    ...residentGuest("paused"),
    instanceId: "b1" as InstanceId,
    hostId: DESTINATION,
    cpus: { kind: "stopped", runState: "inmigrate" },
    role: { kind: "vacant", load: "owners" },
  };
}

export function armedGuest(
  mode: MigrationMode,
  pointOfNoReturn: PointOfNoReturn,
  cpus: "running" | "paused" = "running",
): Guest {
  return play(residentGuest(cpus), arming(mode, pointOfNoReturn))[0].guest;
}

export function arming(mode: MigrationMode, pointOfNoReturn: PointOfNoReturn): Heard {
  return {
    kind: "sourceArmed",
    fence: FENCE,
    migrationId: MIGRATION,
    mode,
    destinationHostId: DESTINATION,
    pointOfNoReturn,
  };
}

export function incomingGuest(mode: MigrationMode): Guest {
  return play(vacantGuest(), claiming(mode))[0].guest;
}

export function claiming(mode: MigrationMode) {
  return {
    kind: "destinationPrepared",
    fence: FENCE,
    migrationId: MIGRATION,
    mode,
    sourceHostId: SOURCE,
    bootId: "boot-1",
  } as const;
}

export function handOff(changes: Partial<HandOff> = {}): HandOff {
  return {
    migrationId: MIGRATION,
    guestId: GUEST,
    sourceHostId: SOURCE,
    sourceInstanceId: "a1",
    destinationHostId: DESTINATION,
    fence: FENCE,
    runState: "running",
    stoppedAtUnixUs: 900n,
    deregisteredAtUnixUs: 910n,
    journaledAtUnixUs: 920n,
    nics: undefined,
    ...changes,
  };
}

export function operationWord(operation: GuestOperation): string[] {
  switch (operation.kind) {
    case "publish":
      return [];
    case "journal":
      return [`journal ${operation.word.kind}`];
    case "journalWhenPossible":
      return [`journalWhenPossible ${operation.word.kind}`];
    case "readRunState":
      return [`read ${operation.purpose}`];
    case "readTransferStatus":
      return [operation.purpose === "keep" ? "read keep" : operation.kind];
    case "setTimer":
      return [`timer ${operation.timer} ${operation.delayMs}`];
    default:
      return [operation.kind];
  }
}

function toldOf(operation: GuestOperation): string[] {
  if (operation.kind !== "publish") return [];
  const { event } = operation;
  return [event.$case === "alarmRaised" ? `alarm ${event.value.reason}` : event.$case];
}

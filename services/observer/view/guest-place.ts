import type { CompleteState } from "../../../coordinator/migration/complete-state.ts";
import type { FeedEvent } from "../../../proto/gen/switchover/v1/feed.ts";
import { Outcome } from "../../../proto/gen/switchover/v1/migration.ts";
import type { GuestEntry } from "../page/wire.ts";
import { unixMs } from "./migration-row.ts";

/** What is known of where a guest is; `shown` is null where nobody says that it is anywhere. */
export interface GuestPlace {
  readonly shown: GuestEntry | null;
  /** The newest epoch that somebody placed it under. */
  readonly epoch: bigint;
  /** Who gave it away under that epoch: of that host, nothing said under it counts any more. */
  readonly leftHost: string;
}

const NOWHERE: GuestPlace = { shown: null, epoch: 0n, leftHost: "" };

/**
 * What a host's word changes. Words of two hosts come in any order, and late ones too: a lower epoch's changes nothing,
 * and neither does one of the host that handed the guest off under the same epoch.
 */
export function placeAfter(known: GuestPlace = NOWHERE, said: FeedEvent): GuestPlace {
  const { event, guestId, hostId, atUnixUs } = said;
  const epoch = said.fence?.epoch ?? 0n;
  if (event === undefined || guestId === "" || hostId === "" || epoch < known.epoch) return known;
  if (epoch === known.epoch && hostId === known.leftHost) return known;
  const { shown } = known;
  const isHere = shown?.host === hostId;
  const at = (cpus: GuestEntry["cpus"], atUs = atUnixUs): GuestPlace => ({
    shown: { id: guestId, host: hostId, cpus, sinceMs: unixMs(atUs), drift: isHere ? shown.drift : "" },
    epoch,
    leftHost: epoch === known.epoch ? known.leftHost : "",
  });
  switch (event.$case) {
    case "cpusStarted":
      return at("running", event.value.resumedAtUnixUs || atUnixUs);
    case "sourceResumed":
      return at(event.value.runState === "running" ? "running" : "stopped");
    case "takenOverPaused":
      return at("stopped");
    case "cpusStopped":
      return isHere ? at("stopped", event.value.stoppedAtUnixUs || atUnixUs) : known;
    case "handedOff":
      return { shown: isHere ? null : shown, epoch, leftHost: hostId };
    case "vmmLost":
      return isHere ? { ...known, shown: null } : known;
    case "registrationDrifted":
      return drifted(known, hostId, event.value.reason);
    case "registrationMended":
      return drifted(known, hostId, "");
    default:
      return known;
  }
}

function drifted(known: GuestPlace, hostId: string, drift: string): GuestPlace {
  const { shown } = known;
  return shown?.host === hostId ? { ...known, shown: { ...shown, drift } } : known;
}

/** What a migration's end says, where the feed of its hosts is older than what is read of it. */
export function placeAtEnd(known: GuestPlace = NOWHERE, { migration }: CompleteState): GuestPlace {
  const { spec, fence, outcome, phases } = migration;
  if (fence.epoch < known.epoch || (known.shown !== null && fence.epoch === known.epoch)) return known;
  const sinceMs = unixMs(phases.at(-1)?.atUnixUs ?? migration.requestedAtUnixUs);
  const at = (host: string, cpus: GuestEntry["cpus"]): GuestPlace => ({
    shown: { id: spec.guestId, host, cpus, sinceMs, drift: "" },
    epoch: fence.epoch,
    leftHost: host === spec.sourceHostId ? "" : spec.sourceHostId,
  });
  switch (outcome) {
    case Outcome.RUNS_ON_SOURCE:
      return at(spec.sourceHostId, "running");
    case Outcome.RUNS_ON_DESTINATION:
      return at(spec.destinationHostId, "running");
    case Outcome.PAUSED_ON_SOURCE:
      return at(spec.sourceHostId, "stopped");
    case Outcome.PAUSED_ON_DESTINATION:
      return at(spec.destinationHostId, "stopped");
    case Outcome.GUEST_LOST:
      return { shown: null, epoch: fence.epoch, leftHost: "" };
    case Outcome.UNSPECIFIED:
      return known;
  }
}

import type { DrainingHosts } from "../../coordinator/drain/draining-hosts.ts";
import {
  DrainedGuestState,
  DrainPhase,
  drainedGuestStateToJSON,
  drainPhaseToJSON,
} from "../../proto/gen/switchover/v1/drain.ts";
import { enumWord } from "../metrics/enum-word.ts";
import type { Metrics } from "../metrics/metrics.ts";

const OPEN_PHASES = [DrainPhase.DRAINING, DrainPhase.CANCELLING];
const GUEST_STATES = Object.values(DrainedGuestState).filter(
  (state) => state !== DrainedGuestState.UNSPECIFIED,
);

/** The drains of the whole cloud that are under way, as this coordinator has heard; read at each scrape. */
export function meterDrains(metrics: Metrics, draining: Pick<DrainingHosts, "open">): void {
  metrics.gauge(
    {
      name: "switchover_coordinator_open_drains",
      help: "Drains under way in the whole cloud by phase; every coordinator says the same: take the max.",
      labels: ["phase"],
    },
    () => {
      const drains = [...draining.open()];
      return OPEN_PHASES.map((phase) => ({
        texts: [enumWord("DRAIN_PHASE_", drainPhaseToJSON(phase))],
        value: drains.filter((drain) => drain.phase === phase).length,
      }));
    },
  );
  metrics.gauge(
    {
      name: "switchover_coordinator_draining_guests",
      help: "Guests of the drains under way by how far they are: MOVED, and those that are left; take the max.",
      labels: ["state"],
    },
    () => {
      const guests = [...draining.open()].flatMap((drain) => drain.guests);
      return GUEST_STATES.map((state) => ({
        texts: [enumWord("DRAINED_GUEST_STATE_", drainedGuestStateToJSON(state))],
        value: guests.filter((guest) => guest.state === state).length,
      }));
    },
  );
}

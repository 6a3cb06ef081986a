import type { ClockOffset } from "../../proto/gen/switchover/v1/migration.ts";
import type { HostId } from "../../proto/ids.ts";
import { type ClockRoundTrip, closestReading, offsetOf } from "../clock-offset.ts";
import type { AgentCall } from "./agent-port.ts";
import type { RunnerPorts } from "./runner-ports.ts";

/** The first opens the connection, and so the fourth is the third that tells anything. */
const ROUND_TRIPS = 4;

/**
 * How the hosts' clocks compare, by round trips to both in turn. Rejects with the first that fails. A clock that is set
 * meanwhile, ours or theirs, falsifies it; over some milliseconds that is left at that.
 */
export async function compareClocks(
  { agents, clock }: Pick<RunnerPorts, "agents" | "clock">,
  sourceHostId: HostId,
  destinationHostId: HostId,
  call: AgentCall,
): Promise<ClockOffset> {
  const ask = async (hostId: HostId): Promise<ClockRoundTrip> => {
    const askedAtUnixUs = clock.unixUs();
    const { receivedAtUnixUs, answeredAtUnixUs } = await agents.readClock(hostId, {}, call);
    const heardAtUnixUs = clock.unixUs();
    return {
      askedAtUnixUs,
      receivedAtUnixUs: Number(receivedAtUnixUs),
      answeredAtUnixUs: Number(answeredAtUnixUs),
      heardAtUnixUs,
    };
  };
  const toSource: [ClockRoundTrip, ...ClockRoundTrip[]] = [await ask(sourceHostId)];
  const toDestination: [ClockRoundTrip, ...ClockRoundTrip[]] = [await ask(destinationHostId)];
  while (toSource.length < ROUND_TRIPS) {
    toSource.push(await ask(sourceHostId));
    toDestination.push(await ask(destinationHostId));
  }
  const measured = { atUnixUs: clock.unixUs(), roundTrips: ROUND_TRIPS };
  return offsetOf(closestReading(toSource), closestReading(toDestination), measured);
}

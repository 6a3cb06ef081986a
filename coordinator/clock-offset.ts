import type { ClockOffset } from "../proto/gen/switchover/v1/migration.ts";

/** One round trip to a host, as NTP stamps it. Microseconds, Unix; the outer two by our clock, the inner by the host's. */
export interface ClockRoundTrip {
  readonly askedAtUnixUs: number;
  readonly receivedAtUnixUs: number;
  readonly answeredAtUnixUs: number;
  readonly heardAtUnixUs: number;
}

/** How far a host's clock is ahead of ours, and within what that is certain. Microseconds. */
export interface ClockReading {
  readonly aheadUs: number;
  readonly errorUs: number;
}

/** Both clocks are read in whole microseconds. */
const RESOLUTION_US = 1;

/** What one round trip says: however unlike its two ways were, the host's clock is within half of what they took. */
export function readingOf(trip: ClockRoundTrip): ClockReading {
  const { askedAtUnixUs, receivedAtUnixUs, answeredAtUnixUs, heardAtUnixUs } = trip;
  const onTheWayUs = heardAtUnixUs - askedAtUnixUs - (answeredAtUnixUs - receivedAtUnixUs);
  const aheadUs = (receivedAtUnixUs - askedAtUnixUs + (answeredAtUnixUs - heardAtUnixUs)) / 2;
  return { aheadUs: Math.round(aheadUs), errorUs: Math.ceil(Math.max(0, onTheWayUs) / 2) + RESOLUTION_US };
}

/** The reading of the shortest round trip: what one took longer, it spent in queues of which nobody knows the way. */
export function closestReading(trips: readonly [ClockRoundTrip, ...ClockRoundTrip[]]): ClockReading {
  const [first, ...others] = trips;
  return others
    .map(readingOf)
    .reduce((best, next) => (next.errorUs < best.errorUs ? next : best), readingOf(first));
}

/** The destination's clock by the source's, where both were read by one clock at about the same time. */
export function offsetOf(
  source: ClockReading,
  destination: ClockReading,
  measured: { readonly atUnixUs: number; readonly roundTrips: number },
): ClockOffset {
  return {
    destinationAheadUs: BigInt(destination.aheadUs - source.aheadUs),
    errorUs: BigInt(destination.errorUs + source.errorUs),
    measuredAtUnixUs: BigInt(measured.atUnixUs),
    roundTrips: measured.roundTrips,
  };
}

/**
 * What the offset proves, else 0: a clock that is kept, as hosts' clocks are, is nearer to the other than half of a round
 * trip can tell, and is left alone where it may be right. Microseconds.
 */
export function provenAheadUs({ destinationAheadUs, errorUs }: ClockOffset): bigint {
  const apartUs = destinationAheadUs < 0n ? -destinationAheadUs : destinationAheadUs;
  return apartUs > errorUs ? destinationAheadUs : 0n;
}

/** By how much two clocks that are kept may come apart (RFC 5905, PHI): so many microseconds a second. */
const DRIFT_PER_MILLION = 15n;

/** Within what the offset is right at another time. Microseconds. */
export function errorUsAt({ errorUs, measuredAtUnixUs }: ClockOffset, atUnixUs: bigint): bigint {
  const sinceUs = atUnixUs > measuredAtUnixUs ? atUnixUs - measuredAtUnixUs : measuredAtUnixUs - atUnixUs;
  return errorUs + (sinceUs * DRIFT_PER_MILLION) / 1_000_000n;
}

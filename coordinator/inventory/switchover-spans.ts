import { type ClockOffset, type Instant, InstantKind } from "../../proto/gen/switchover/v1/migration.ts";
import { type Receipt, SpanKind, type SwitchoverSpan } from "../../proto/gen/switchover/v1/receipt.ts";
import { errorUsAt, provenAheadUs } from "../clock-offset.ts";

/** From the later of the first ones, of which all must be known, to the last. */
interface SpanOf {
  readonly kind: SpanKind;
  readonly from: readonly InstantKind[];
  readonly to: InstantKind;
  /** Below zero it did not happen at all. */
  readonly least?: 0n;
}

const UNREGISTERED: SpanOf = {
  kind: SpanKind.UNREGISTERED,
  from: [InstantKind.DEREGISTERED],
  to: InstantKind.REGISTERED,
};
const DUPLICATE: SpanOf = {
  kind: SpanKind.DUPLICATE,
  from: [InstantKind.REGISTRATION_SENT],
  to: InstantKind.DEREGISTERED,
  least: 0n,
};
const SILENCE: SpanOf = {
  kind: SpanKind.SILENCE,
  from: [InstantKind.STOPPED],
  to: InstantKind.FIRST_FRAME,
};

const SPANS: readonly SpanOf[] = [
  { kind: SpanKind.BLACKOUT, from: [InstantKind.STOPPED], to: InstantKind.RESUMED },
  { kind: SpanKind.DEREGISTRATION, from: [InstantKind.STOP_RECEIVED], to: InstantKind.DEREGISTERED },
  { kind: SpanKind.HAND_OFF, from: [InstantKind.HANDED_OFF], to: InstantKind.HAND_OFF_RECEIVED },
  { kind: SpanKind.REGISTRATION, from: [InstantKind.HAND_OFF_RECEIVED], to: InstantKind.REGISTERED },
  UNREGISTERED,
  DUPLICATE,
  {
    kind: SpanKind.START,
    from: [InstantKind.READY, InstantKind.HAND_OFF_RECEIVED],
    to: InstantKind.CONT_SENT,
  },
  { kind: SpanKind.ADDED, from: [InstantKind.READY, InstantKind.HANDED_OFF], to: InstantKind.RESUMED },
  { kind: SpanKind.ANNOUNCEMENT, from: [InstantKind.RESUMED], to: InstantKind.ANNOUNCED },
  SILENCE,
];

/** Instants that the source tells; all others are the destination's. */
export const AT_SOURCE: readonly InstantKind[] = [
  InstantKind.STOPPED,
  InstantKind.STOP_RECEIVED,
  InstantKind.DEREGISTERED,
  InstantKind.HANDED_OFF,
];

/**
 * How far the destination's clock is behind the source's beyond what was measured, as far as that shows; 0 within one host.
 */
export function clockBehindUs(instants: readonly Instant[], offset?: ClockOffset): bigint {
  const left = find(instants, InstantKind.HANDED_OFF);
  const arrived = find(instants, InstantKind.HAND_OFF_RECEIVED);
  if (left === undefined || arrived === undefined || left.hostId === arrived.hostId) return 0n;
  const arrivedAtUnixUs = arrived.atUnixUs - aheadUs(offset);
  return left.atUnixUs > arrivedAtUnixUs ? left.atUnixUs - arrivedAtUnixUs : 0n;
}

function aheadUs(offset: ClockOffset | undefined): bigint {
  return offset === undefined ? 0n : provenAheadUs(offset);
}

/** What brings the destination's instants onto the source's clock, as far as the clocks are known to differ. */
export function movedByUs(instants: readonly Instant[], offset?: ClockOffset): bigint {
  return clockBehindUs(instants, offset) - aheadUs(offset);
}

/** What a receipt says of a switchover's times, of one that goes on as well. */
export type SwitchoverTimes = Pick<
  Receipt,
  "spans" | "clockOffset" | "destinationClockBehindUs" | "destinationMovedByUs"
>;

export function switchoverTimes(instants: readonly Instant[], clockOffset?: ClockOffset): SwitchoverTimes {
  return {
    spans: switchoverSpans(instants, clockOffset),
    clockOffset,
    destinationClockBehindUs: clockBehindUs(instants, clockOffset),
    destinationMovedByUs: movedByUs(instants, clockOffset),
  };
}

/** All spans whose instants are known, the destination's by the source's clock. */
export function switchoverSpans(
  instants: readonly Instant[],
  offset?: ClockOffset,
): readonly SwitchoverSpan[] {
  return SPANS.flatMap((span) => spanIn(span, instants, offset));
}

/** Those of one NIC, of whose instants these are. */
export function nicSpans(
  instants: readonly Instant[],
  offset: ClockOffset | undefined,
  registers: "registers" | "needs no registration",
): readonly SwitchoverSpan[] {
  const spans = registers === "registers" ? [UNREGISTERED, DUPLICATE, SILENCE] : [SILENCE];
  return spans.flatMap((span) => spanIn(span, instants, offset));
}

function spanIn(
  { kind, from, to, least }: SpanOf,
  instants: readonly Instant[],
  offset: ClockOffset | undefined,
): readonly SwitchoverSpan[] {
  const correctionUs = movedByUs(instants, offset);
  const timeOf = ({ kind, atUnixUs }: Instant) =>
    AT_SOURCE.includes(kind) ? atUnixUs : atUnixUs + correctionUs;
  // Of several NICs the last one's: before, a part of the guest was still silent.
  const end = to === InstantKind.FIRST_FRAME ? findLast(instants, to) : find(instants, to);
  const begins = from.map((one) => find(instants, one)).filter((one) => one !== undefined);
  if (end === undefined || begins.length < from.length) return [];
  const [begin] = begins.sort((left, right) => (timeOf(left) > timeOf(right) ? -1 : 1));
  if (begin === undefined) return [];
  const durationUs = timeOf(end) - timeOf(begin);
  const acrossClocks = begin.hostId !== end.hostId;
  return [
    {
      kind,
      durationUs: least !== undefined && durationUs < least ? least : durationUs,
      acrossClocks,
      errorUs: acrossClocks && offset !== undefined ? errorUsAt(offset, timeOf(begin)) : undefined,
    },
  ];
}

function find(instants: readonly Instant[], kind: InstantKind): Instant | undefined {
  return instants.find((instant) => instant.kind === kind);
}

function findLast(instants: readonly Instant[], kind: InstantKind): Instant | undefined {
  return instants.findLast((instant) => instant.kind === kind);
}

import { type Instant, InstantKind } from "../../proto/gen/switchover/v1/migration.ts";
import { SpanKind, type SwitchoverSpan } from "../../proto/gen/switchover/v1/receipt.ts";

/** From the later of the first ones, of which all must be known, to the last. */
interface SpanOf {
  readonly kind: SpanKind;
  readonly from: readonly InstantKind[];
  readonly to: InstantKind;
}

const SPANS: readonly SpanOf[] = [
  { kind: SpanKind.BLACKOUT, from: [InstantKind.STOPPED], to: InstantKind.RESUMED },
  { kind: SpanKind.DEREGISTRATION, from: [InstantKind.STOP_RECEIVED], to: InstantKind.DEREGISTERED },
  { kind: SpanKind.HAND_OFF, from: [InstantKind.HANDED_OFF], to: InstantKind.HAND_OFF_RECEIVED },
  { kind: SpanKind.REGISTRATION, from: [InstantKind.HAND_OFF_RECEIVED], to: InstantKind.REGISTERED },
  { kind: SpanKind.UNREGISTERED, from: [InstantKind.DEREGISTERED], to: InstantKind.REGISTERED },
  {
    kind: SpanKind.START,
    from: [InstantKind.READY, InstantKind.HAND_OFF_RECEIVED],
    to: InstantKind.CONT_SENT,
  },
  { kind: SpanKind.ADDED, from: [InstantKind.READY, InstantKind.HANDED_OFF], to: InstantKind.RESUMED },
  { kind: SpanKind.ANNOUNCEMENT, from: [InstantKind.RESUMED], to: InstantKind.ANNOUNCED },
];

/** Instants that the source tells; all others are the destination's. */
const AT_SOURCE: readonly InstantKind[] = [
  InstantKind.STOPPED,
  InstantKind.STOP_RECEIVED,
  InstantKind.DEREGISTERED,
  InstantKind.HANDED_OFF,
];

/** How far the destination's clock is behind the source's, as far as that shows; 0 within one host. */
export function clockBehindUs(instants: readonly Instant[]): bigint {
  const left = find(instants, InstantKind.HANDED_OFF);
  const arrived = find(instants, InstantKind.HAND_OFF_RECEIVED);
  if (left === undefined || arrived === undefined || left.hostId === arrived.hostId) return 0n;
  return left.atUnixUs > arrived.atUnixUs ? left.atUnixUs - arrived.atUnixUs : 0n;
}

/** All spans whose instants are known, the destination's moved by what its clock is behind. */
export function switchoverSpans(instants: readonly Instant[]): readonly SwitchoverSpan[] {
  const behindUs = clockBehindUs(instants);
  const timeOf = ({ kind, atUnixUs }: Instant) => (AT_SOURCE.includes(kind) ? atUnixUs : atUnixUs + behindUs);
  return SPANS.flatMap(({ kind, from, to }) => {
    const end = find(instants, to);
    const begins = from.map((one) => find(instants, one)).filter((one) => one !== undefined);
    if (end === undefined || begins.length < from.length) return [];
    const [begin] = begins.sort((left, right) => (timeOf(left) > timeOf(right) ? -1 : 1));
    if (begin === undefined) return [];
    const durationUs = timeOf(end) - timeOf(begin);
    return [{ kind, durationUs, acrossClocks: begin.hostId !== end.hostId }];
  });
}

function find(instants: readonly Instant[], kind: InstantKind): Instant | undefined {
  return instants.find((instant) => instant.kind === kind);
}

import { SpanKind, type SwitchoverSpan } from "../../../proto/gen/switchover/v1/receipt.ts";
import type { Windows } from "../page/wire.ts";

/**
 * The windows of a switchover, by the receipt's own spans. Where nobody told when the registrations were sent, as agents of
 * 0.1 do not, the one span that is on neither host says by its sign how long the MAC was on both.
 */
export function windowsOf(spans: readonly SwitchoverSpan[]): Windows {
  const durationOf = (kind: SpanKind): number | null => {
    const span = spans.find((one) => one.kind === kind);
    return span === undefined ? null : Number(span.durationUs);
  };
  const unregisteredUs = durationOf(SpanKind.UNREGISTERED);
  return {
    blackoutUs: durationOf(SpanKind.BLACKOUT),
    blackHoleUs: unregisteredUs === null ? null : Math.max(0, unregisteredUs),
    duplicateUs:
      durationOf(SpanKind.DUPLICATE) ?? (unregisteredUs === null ? null : Math.max(0, -unregisteredUs)),
    overheadUs: durationOf(SpanKind.ADDED),
  };
}

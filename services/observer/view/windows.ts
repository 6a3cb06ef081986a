import { SpanKind, type SwitchoverSpan } from "../../../proto/gen/switchover/v1/receipt.ts";
import type { Windows } from "../page/wire.ts";

/**
 * The windows of a switchover, by the receipt's own spans. Registered on neither host and on both is one span, of either
 * sign: the MAC was where it should not be, or nowhere.
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
    duplicateUs: unregisteredUs === null ? null : Math.max(0, -unregisteredUs),
    overheadUs: durationOf(SpanKind.ADDED),
  };
}

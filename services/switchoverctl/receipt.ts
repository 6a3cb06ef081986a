import { MigrationMode, Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { Receipt, type ReceiptHost, SpanKind } from "../../proto/gen/switchover/v1/receipt.ts";
import { parseMigrationId } from "../../proto/ids.ts";
import type { CommandPorts } from "./commands.ts";
import { EXIT_CODES } from "./exit-code.ts";
import { renderTable } from "./table.ts";
import { wordOf } from "./timeline.ts";

export async function receipt(migrationId: string, { client, display }: CommandPorts): Promise<number> {
  parseMigrationId(migrationId, "MIGRATION_ID");
  const found = await client.getReceipt(migrationId);
  display.rows([Receipt.toJSON(found)], () => renderReceipt(found));
  return EXIT_CODES.done;
}

const SPAN_WORDS: ReadonlyMap<SpanKind, string> = new Map([
  [SpanKind.BLACKOUT, "CPUs stood still"],
  [SpanKind.DEREGISTRATION, "stop seen until deregistered"],
  [SpanKind.HAND_OFF, "hand-off on its way"],
  [SpanKind.REGISTRATION, "hand-off received until registered"],
  [SpanKind.UNREGISTERED, "MAC on neither host"],
  [SpanKind.START, "ready and handed off until cont"],
  [SpanKind.ADDED, "added to the VMM's own stop"],
  [SpanKind.ANNOUNCEMENT, "RESUME until announced"],
]);

/** The whole text, without a last line break. Pure. */
export function renderReceipt(receipt: Receipt): string {
  const { reason, reasonCode, spans, destinationClockBehindUs: behindUs } = receipt;
  const facts = [
    ["migration", receipt.migrationId],
    ["request", receipt.requestId],
    ["guest", receipt.guestId],
    ["from", hostText(receipt.source)],
    ["to", hostText(receipt.destination)],
    ["mode", receipt.mode === MigrationMode.POST_COPY ? "post-copy" : "live"],
    ["asked for", timeText(receipt.requestedAtUnixUs)],
    ["ended", timeText(receipt.endedAtUnixUs)],
    ["end", `${wordOf(Phase, receipt.phase)}, guest ${wordOf(Outcome, receipt.outcome)}`],
    ...(reason === "" ? [] : [["reason", `${reason} [${reasonCode}]`]]),
  ];
  const sections = [
    facts.map(([name = "", value]) => `${name.padEnd(10)} ${value}`).join("\n"),
    renderTable(["PHASE", "MS", "REASON"], receipt.phases.map(phaseRow)),
  ];
  if (spans.length > 0) {
    const rows = spans.map(({ kind, durationUs, acrossClocks }) => [
      SPAN_WORDS.get(kind) ?? wordOf(SpanKind, kind),
      milliseconds(durationUs),
      acrossClocks ? "both hosts' clocks" : "",
    ]);
    sections.push(renderTable(["SWITCHOVER", "MS", "BY"], rows));
  }
  if (behindUs > 0n) {
    sections.push(
      `The destination's clock is behind by ${milliseconds(behindUs)} ms or more; corrected by that.`,
    );
  }
  return sections.join("\n\n");
}

function phaseRow({ phase, durationUs, reason }: Receipt["phases"][number]): readonly string[] {
  return [wordOf(Phase, phase), milliseconds(durationUs), reason];
}

function hostText(host: ReceiptHost | undefined): string {
  if (host === undefined || host.instanceId === "") return host?.hostId ?? "";
  return `${host.hostId} (instance ${host.instanceId})`;
}

function timeText(atUnixUs: bigint): string {
  return new Date(Number(atUnixUs / 1_000n)).toISOString();
}

function milliseconds(us: bigint): string {
  return (Number(us) / 1_000).toFixed(3);
}

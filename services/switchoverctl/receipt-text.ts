import { MigrationMode, Outcome, Phase, type Requester } from "../../proto/gen/switchover/v1/migration.ts";
import {
  type Receipt,
  type ReceiptHost,
  type ReceiptNic,
  SpanKind,
  type SwitchoverSpan,
} from "../../proto/gen/switchover/v1/receipt.ts";
import { SPAN_WORDS } from "../wording/span-words.ts";
import { millisecondsText, wordOf } from "../wording/words.ts";
import { renderLanes } from "./switchover-lanes.ts";
import { renderTable } from "./table.ts";

/** The whole text, without a last line break. Pure. */
export function renderReceipt(receipt: Receipt): string {
  const { spans, nics, retries, instants, destinationMovedByUs } = receipt;
  const sections = [
    factsOf(receipt)
      .map(([name, value]) => `${name.padEnd(10)} ${value}`)
      .join("\n"),
    renderTable(["PHASE", "MS", "REASON"], receipt.phases.map(phaseRow)),
  ];
  const lanes = renderLanes({
    instants,
    sourceHostId: receipt.source?.hostId ?? "",
    destinationHostId: receipt.destination?.hostId ?? "",
    destinationMovedByUs,
  });
  if (lanes.length > 0) sections.push(lanes.join("\n"));
  if (spans.length > 0) sections.push(renderTable(["SWITCHOVER", "MS", "BY"], spans.map(spanRow)));
  if (nics.length > 0) sections.push(renderTable(["NIC", "MAC", "FROM", "TO", "WINDOWS"], nics.map(nicRow)));
  if (retries.length > 0) {
    const rows = retries.map(({ command, hostId, code, reason, attempts }) => [
      command,
      hostId,
      String(attempts),
      `${code} / ${reason}`,
    ]);
    sections.push(renderTable(["TRIED IN VAIN", "HOST", "TIMES", "ANSWER"], rows));
  }
  const clocks = clocksText(receipt);
  if (clocks !== "") sections.push(clocks);
  return sections.join("\n\n");
}

function factsOf(receipt: Receipt): readonly (readonly [string, string])[] {
  const { reason, reasonCode, requestedBy } = receipt;
  return [
    ["migration", receipt.migrationId],
    ["request", receipt.requestId],
    ["guest", receipt.guestId],
    ["from", hostText(receipt.source)],
    ["to", hostText(receipt.destination)],
    ["mode", receipt.mode === MigrationMode.POST_COPY ? "post-copy" : "live"],
    ["epoch", String(receipt.epoch)],
    ["asked for", timeText(receipt.requestedAtUnixUs)],
    ...(requestedBy === undefined ? [] : [["asked by", requesterText(requestedBy)] as const]),
    ["ended", timeText(receipt.endedAtUnixUs)],
    ["end", `${wordOf(Phase, receipt.phase)}, guest ${wordOf(Outcome, receipt.outcome)}`],
    ...(reason === "" ? [] : [["reason", `${reason} [${reasonCode}]`] as const]),
  ];
}

function requesterText({ identity, peer, userAgent, drainId }: Requester): string {
  if (drainId !== "") return `drain ${drainId}`;
  const who = identity === "" ? [] : [identity];
  return [...who, peer, ...(userAgent === "" ? [] : [`(${userAgent})`])].join(" ");
}

function phaseRow({ phase, durationUs, reason }: Receipt["phases"][number]): readonly string[] {
  return [wordOf(Phase, phase), millisecondsText(durationUs), reason];
}

function spanRow({ kind, durationUs, acrossClocks, errorUs }: SwitchoverSpan): readonly string[] {
  const within = errorUs === undefined ? "" : `, +-${millisecondsText(errorUs)} ms`;
  return [
    SPAN_WORDS.get(kind) ?? wordOf(SpanKind, kind),
    millisecondsText(durationUs),
    acrossClocks ? `both hosts' clocks${within}` : "",
  ];
}

const NIC_SPAN_WORDS: ReadonlyMap<SpanKind, string> = new Map([
  [SpanKind.UNREGISTERED, "on neither host"],
  [SpanKind.DUPLICATE, "on both"],
  [SpanKind.SILENCE, "silent"],
]);

function nicRow({ nic, spans }: ReceiptNic): readonly string[] {
  const windows = spans.map(
    ({ kind, durationUs }) => `${NIC_SPAN_WORDS.get(kind) ?? ""} ${millisecondsText(durationUs)} ms`,
  );
  return [
    nic?.nicId ?? "",
    nic?.macAddress ?? "",
    nic?.sourceDevice ?? "",
    nic?.destinationDevice ?? "",
    windows.join(", "),
  ];
}

/** How well times of two hosts compare. */
function clocksText({ clockOffset, destinationClockBehindUs, destinationMovedByUs }: Receipt): string {
  const lines: string[] = [];
  if (clockOffset !== undefined) {
    const { destinationAheadUs, errorUs, roundTrips } = clockOffset;
    const side = destinationAheadUs < 0n ? "behind" : "ahead of";
    const apart = millisecondsText(destinationAheadUs < 0n ? -destinationAheadUs : destinationAheadUs);
    lines.push(
      `The destination's clock was ${apart} ms ${side} the source's, +-${millisecondsText(errorUs)} ms ` +
        `(${roundTrips} round trips to each host).`,
    );
  }
  if (destinationClockBehindUs > 0n) {
    const behind = millisecondsText(destinationClockBehindUs);
    lines.push(`By the source's word the destination's clock is behind by ${behind} ms or more.`);
  }
  if (destinationMovedByUs !== 0n) {
    lines.push(`The destination's times are moved by ${millisecondsText(destinationMovedByUs)} ms.`);
  }
  return lines.join("\n");
}

function hostText(host: ReceiptHost | undefined): string {
  if (host === undefined || host.instanceId === "") return host?.hostId ?? "";
  return `${host.hostId} (instance ${host.instanceId})`;
}

function timeText(atUnixUs: bigint): string {
  return new Date(Number(atUnixUs / 1_000n)).toISOString();
}

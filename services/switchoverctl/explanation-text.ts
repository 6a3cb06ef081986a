import { MigrationMode, outcomeToJSON, Phase, phaseToJSON } from "../../proto/gen/switchover/v1/migration.ts";
import { SpanKind } from "../../proto/gen/switchover/v1/receipt.ts";
import { wordOf } from "../wording/words.ts";
import { durationText } from "./duration-text.ts";
import type { ExplainedHost, Explanation } from "./explanation.ts";
import { endingOf } from "./timeline.ts";

/** A few plain lines, without a last line break. Pure. */
export function explanationText(explanation: Explanation, nowUnixUs: bigint): string {
  const { wait, transfer, deadlines, hosts, action } = explanation;
  const reason = wait === null ? "" : reasonOf(explanation);
  const rows: readonly (readonly [string, string])[] = [
    ...(wait === null ? [] : [["waits for", wait.sentence] as const]),
    ...(reason === "" ? [] : [["because", reason] as const]),
    ...(transfer === "" ? [] : [["transfer", transfer] as const]),
    ...deadlines.map(
      ({ atUnixUs, sentence }) => ["deadline", whenOf(atUnixUs, nowUnixUs, sentence)] as const,
    ),
    ["heard of", hosts.map(heardOf).join(", ")],
    ["to act", action.sentence === "" ? action.who : `the ${action.who} ${action.sentence}`],
    ...action.commands.map((command) => ["next", command] as const),
  ];
  return [titleOf(explanation), ...rows.map(([name, text]) => `  ${name.padEnd(10)} ${text}`)].join("\n");
}

/** The same for scripts; times as proto3 JSON has them. Pure. */
export function explanationJson(explanation: Explanation): unknown {
  const { migration, sinceUnixUs, inPhaseMs, wait, deadlines, hosts, action } = explanation;
  return {
    migrationId: migration.migrationId,
    phase: phaseToJSON(migration.phase),
    sinceUnixUs: String(sinceUnixUs),
    inPhaseMs,
    outcome: outcomeToJSON(migration.outcome),
    waitsFor: wait?.sentence ?? "",
    waitsOnHosts: wait?.on ?? [],
    reason: migration.reason,
    reasonCode: migration.reasonCode,
    queuePosition: migration.queuePlace?.position ?? 0,
    deadlines: deadlines.map(({ atUnixUs, sentence }) => ({ atUnixUs: String(atUnixUs), sentence })),
    hosts,
    toAct: action.who,
    action: action.sentence,
    next: action.commands,
  };
}

function titleOf({ migration, inPhaseMs, wait, receipt }: Explanation): string {
  const { migrationId, spec, phase } = migration;
  const mode = spec?.mode === MigrationMode.POST_COPY ? "post-copy" : "live";
  const route = `${migrationId}: ${spec?.guestId}, ${spec?.sourceHostId} -> ${spec?.destinationHostId}, ${mode}`;
  if (wait !== null) return `${route}, ${wordOf(Phase, phase)} for ${durationText(inPhaseMs)}`;
  const blackout = receipt?.spans.find(({ kind }) => kind === SpanKind.BLACKOUT);
  const stop =
    blackout === undefined
      ? ""
      : `; its CPUs stood still ${(Number(blackout.durationUs) / 1_000).toFixed(3)} ms`;
  return `${route}, ${durationText(inPhaseMs)} ago: ${endingOf(migration)}${stop}`;
}

function reasonOf({ migration: { reason, reasonCode } }: Explanation): string {
  return reason === "" ? "" : `${reason} [${reasonCode}]`;
}

function whenOf(atUnixUs: bigint, nowUnixUs: bigint, sentence: string): string {
  const leftMs = Number((atUnixUs - nowUnixUs) / 1_000n);
  return leftMs < 0
    ? `passed ${durationText(-leftMs)} ago: ${sentence}`
    : `in ${durationText(leftMs)} ${sentence}`;
}

function heardOf({ hostId, role, heartbeatAgeMs }: ExplainedHost): string {
  const age = heartbeatAgeMs === null ? "not at all" : `${durationText(heartbeatAgeMs)} ago`;
  return `${hostId} (${role}) ${age}`;
}

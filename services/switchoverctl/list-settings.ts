import { invalidArgument } from "../../proto/error.ts";
import { MigrationRole } from "../../proto/gen/switchover/v1/guest.ts";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { MigrationFilter, Standing } from "../../proto/gen/switchover/v1/migration_service.ts";
import { parseGuestId, parseHostId } from "../../proto/ids.ts";
import { parseWhole } from "../config/parsers.ts";
import type { Fault, Values } from "../config/read-settings.ts";
import { onOff, optional, several, withDefault } from "../config/setting.ts";
import type { UsageText } from "../config/usage.ts";
import { labelsOf, parseLabel } from "./label.ts";
import { COMMON_ENVIRONMENT, COMMON_SETTINGS } from "./settings.ts";

export const LIST_SETTINGS = {
  guest: optional(parseGuestId, "all guests", { placeholder: "ID", help: "Migrations of this guest" }),
  host: optional(parseHostId, "all hosts", { placeholder: "HOST", help: "From or to this host" }),
  from: optional(parseHostId, "all hosts", { placeholder: "HOST", help: "From this host" }),
  to: optional(parseHostId, "all hosts", { placeholder: "HOST", help: "To this host" }),
  phase: several(parsePhase, "all phases", {
    placeholder: "PHASE",
    help: "In this phase, as in post-copy-paused",
  }),
  open: onOff("Only those that have not ended"),
  ended: onOff("Only those that have ended"),
  label: several(parseLabel, "any", { placeholder: "KEY=VALUE", help: "With this label" }),
  since: optional(parseSince, "all that is kept", {
    placeholder: "TIME",
    help: "Asked for after this: 2026-11-30T18:00:00Z, or so long ago: 30m, 12h, 7d",
  }),
  limit: withDefault(parseWhole(1, 1_000_000), "100", { placeholder: "N", help: "At most so many" }),
  watch: onOff("Show the list anew every 2 s, until Ctrl-C"),
  ...COMMON_SETTINGS,
};

export type ListValues = Values<typeof LIST_SETTINGS>;

export const LIST_USAGE: UsageText = {
  synopsis: "switchoverctl list [flags]",
  purpose:
    "Lists migrations, open and ended, newest first. Exits with 0, 1 when it is refused, 2 for a wrong command line, 3 when\n" +
    "no coordinator answers.",
  environment: COMMON_ENVIRONMENT,
  examples: [
    "switchoverctl list --open --watch",
    "switchoverctl list --guest web-7 --limit 5",
    "switchoverctl list --from ha --phase failed --phase cancelled --since 24h",
    "switchoverctl list --label drain=ha --json",
  ],
};

export function checkListValues(values: ListValues): readonly Fault[] {
  const faults: Fault[] = [];
  if (values.open === "on" && values.ended === "on") {
    faults.push({ name: "--open", sentence: "--open and --ended exclude each other." });
  }
  if (values.watch === "on" && values.json === "on") {
    faults.push({ name: "--watch", sentence: "--watch is for people, --json for scripts." });
  }
  const hosts = (["host", "from", "to"] as const).filter((name) => values[name] !== undefined);
  if (hosts.length > 1) {
    const sentence = `${hosts.map((name) => `--${name}`).join(" and ")} exclude each other.`;
    faults.push({ name: `--${hosts[0]}`, sentence });
  }
  return faults;
}

/** What the flags ask for. */
export function filterOf(values: ListValues, nowUnixMs: number): MigrationFilter {
  const { host, from, to, since } = values;
  return MigrationFilter.create({
    guestId: values.guest ?? "",
    hostId: host ?? from ?? to ?? "",
    hostRole: roleOf(values),
    phases: values.phase,
    standing: standingOf(values),
    labels: labelsOf(values.label),
    requestedAfterUnixUs: since === undefined ? 0n : BigInt(since(nowUnixMs)) * 1_000n,
  });
}

function roleOf({ from, to }: ListValues): MigrationRole {
  if (from !== undefined) return MigrationRole.SOURCE;
  return to === undefined ? MigrationRole.UNSPECIFIED : MigrationRole.DESTINATION;
}

function standingOf({ open, ended }: ListValues): Standing {
  if (open === "on") return Standing.OPEN;
  return ended === "on" ? Standing.ENDED : Standing.UNSPECIFIED;
}

function parsePhase(text: string, field: string): Phase {
  const names = Object.keys(Phase).filter((name) => name !== "UNSPECIFIED");
  const name = text.toUpperCase().replaceAll("-", "_");
  if (names.includes(name)) return Phase[name as keyof typeof Phase];
  const known = names.map((known) => known.toLowerCase().replaceAll("_", "-")).join(", ");
  throw invalidArgument(field, `${field}: "${text}" is none of ${known}.`);
}

const UNIT_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A time of its own, or one counted back from now; as milliseconds, Unix. */
function parseSince(text: string, field: string): (nowUnixMs: number) => number {
  const ago = /^(\d{1,6})([smhd])$/.exec(text);
  const unitMs = UNIT_MS[ago?.[2] ?? ""];
  if (ago !== null && unitMs !== undefined) return (nowUnixMs) => nowUnixMs - Number(ago[1]) * unitMs;
  const atMs = /^\d{4}-\d{2}-\d{2}(T|$)/.test(text) ? Date.parse(text) : Number.NaN;
  if (atMs >= 0) return () => atMs;
  throw invalidArgument(field, `${field}: "${text}" is neither a time like 2026-11-30T18:00:00Z nor 12h.`);
}

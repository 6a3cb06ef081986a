import { Resolution } from "../../proto/gen/switchover/v1/migration_service.ts";
import type { Fault, Values } from "../config/read-settings.ts";
import { onOff } from "../config/setting.ts";
import type { UsageText } from "../config/usage.ts";
import { COMMON_ENVIRONMENT, COMMON_SETTINGS, STAYING } from "./settings.ts";

/** Flags and help of the commands that ask something of a migration that has begun. */
export const INTERVENTION_SETTINGS = {
  wait: onOff("Show progress and stay until what was asked for is so, or the migration has ended"),
  ...COMMON_SETTINGS,
};

export const RESOLVE_SETTINGS = {
  "source-dead": onOff("State that the source host is dead: powered off, nothing runs there"),
  "destination-dead": onOff("State that the destination host is dead: powered off, nothing runs there"),
  "resume-source": onOff(
    "Have the source run the guest again, once the destination has said that it never will",
  ),
  "guest-lost": onOff("Give the guest up; not with one host dead, whose death lets the other run it"),
  yes: onOff("State it without being asked again; required where stdin is no terminal"),
  ...INTERVENTION_SETTINGS,
};

export type InterventionValues = Values<typeof INTERVENTION_SETTINGS>;
export type ResolveValues = Values<typeof RESOLVE_SETTINGS>;

const EXIT_CODES =
  "Exits with 0 when that is stored, 1 when it is refused, 2 for a wrong command line, 3 when no coordinator\nanswers";
const EXAMPLE_ID = "web-7-mk3v0q8ya1z9";

function usageOf(command: string, purpose: string, examples: readonly string[]): UsageText {
  return {
    synopsis: `switchoverctl ${command} MIGRATION_ID [flags]`,
    purpose: `${purpose}\n--wait: ${STAYING}`,
    environment: COMMON_ENVIRONMENT,
    examples: examples.map((flags) => `switchoverctl ${command} ${EXAMPLE_ID}${flags}`),
  };
}

export const CANCEL_USAGE = usageOf(
  "cancel",
  "Asks that the guest stays where it is. Only the source knows whether it is too late; the migration tells.\n" +
    `${EXIT_CODES}; with --wait 0 when the guest stayed.`,
  ["", " --wait"],
);

export const POST_COPY_USAGE = usageOf(
  "post-copy",
  "Moves the CPUs of a migration in post-copy mode now; the remaining pages follow.\n" +
    `${EXIT_CODES}; with --wait as those of migrate.`,
  ["", " --wait"],
);

export const PAUSE_USAGE = usageOf(
  "pause",
  "Pauses a post-copy transfer: the guest runs on at the destination, and waits where it needs a page that is missing,\n" +
    `until recover. ${EXIT_CODES}; with --wait 0 when it is paused, 1 when it ended before that.`,
  ["", " --wait"],
);

export const RECOVER_USAGE = usageOf(
  "recover",
  "Recovers a paused post-copy transfer now. One that broke by itself is recovered without being asked.\n" +
    `${EXIT_CODES}; with --wait as those of migrate.`,
  ["", " --wait"],
);

export const RESOLVE_USAGE = usageOf(
  "resolve",
  "States what no agent can be asked about. A false statement can run the guest twice, or lose it.\n\n" +
    "With the source dead, a destination that has all of the guest starts it; with the destination dead, a source that\n" +
    "still has it goes on. Where neither can, the migration ends by itself, with the guest lost. --guest-lost is for one\n" +
    "that waits all the same: it ends the migration, and neither asks nor stops anybody, so be sure that the guest runs\n" +
    "nowhere. Together with one dead host it is refused, for it would report as lost what the other host may then start:\n" +
    "state the dead host, watch what comes of it, then give up what still waits. With both hosts dead it is allowed.\n\n" +
    `${EXIT_CODES}; with --wait as those of migrate.`,
  [" --source-dead", " --destination-dead --yes --wait", " --resume-source", " --guest-lost --yes"],
);

/** Faults that show only when flags are seen together. */
export function checkResolveValues(values: ResolveValues): readonly Fault[] {
  const chosen = (["source-dead", "destination-dead", "resume-source", "guest-lost"] as const).filter(
    (name) => values[name] === "on",
  );
  if (chosen.length === 0) {
    const sentence = "One of --source-dead, --destination-dead, --resume-source, --guest-lost is required.";
    return [{ name: "resolve", sentence }];
  }
  const dead = (["source-dead", "destination-dead"] as const).filter((name) => values[name] === "on");
  if (values["resume-source"] === "off") {
    if (values["guest-lost"] === "off" || dead.length !== 1) return [];
    const sentence =
      `--guest-lost and --${dead[0]} exclude each other: the other host may then run the guest. State --${dead[0]} ` +
      "alone, and give the guest up only where the migration waits all the same.";
    return [{ name: "--guest-lost", sentence }];
  }
  const against = (["source-dead", "guest-lost"] as const).filter((name) => values[name] === "on");
  return against.map((name) => ({
    name: `--${name}`,
    sentence: `--resume-source and --${name} exclude each other.`,
  }));
}

export function resolutionIn(values: ResolveValues): Resolution {
  if (values["resume-source"] === "on") return Resolution.RESUME_SOURCE;
  return values["guest-lost"] === "on" ? Resolution.GUEST_LOST : Resolution.UNSPECIFIED;
}

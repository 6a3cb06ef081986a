import { invalidArgument } from "../../../proto/error.ts";
import { MARKS, NIC_KINDS, type Schedule } from "./schedule.ts";

type Json = Readonly<Record<string, unknown>>;
type Check = (value: unknown) => boolean;

const isText: Check = (value) => typeof value === "string" && value !== "";
const isWhole: Check = (value) => typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
const isOneOf =
  (...known: readonly unknown[]): Check =>
  (value) =>
    known.includes(value);
const isListOf =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(check);
const isLeftOutOr =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value);

const SCHEDULE: Readonly<Record<string, Check>> = {
  seed: isWhole,
  grain: isLeftOutOr(isOneOf("fine", "coarse")),
  coordinators: isOneOf(1, 2),
  nics: isOneOf(1, 2),
  wiring: isLeftOutOr(isListOf(isOneOf(...NIC_KINDS))),
  feed: isOneOf("heard", "away"),
  qemu: isOneOf("7.2", "10.2"),
  staysRegisteredFor: isLeftOutOr(isListOf(isText)),
  copyUs: isWhole,
  pagesUs: isWhole,
  adoptedAgain: isLeftOutOr(isOneOf("running", "living", "livingAtOnce")),
  patience: isLeftOutOr(isOneOf("long", "short")),
};
const MIGRATION: Readonly<Record<string, Check>> = {
  mode: isOneOf("live", "postCopy"),
  to: isOneOf(0, 1),
  guest: isOneOf("running", "stopped"),
  postCopyAfterMs: isWhole,
  plugs: isLeftOutOr(isOneOf("out", ...NIC_KINDS)),
};
const WHEN: Readonly<Record<string, Check>> = {
  migration: isWhole,
  mark: isOneOf(...MARKS),
  afterUs: isWhole,
};

/**
 * The schedule that `text` is, as it was printed for a run. Throws INVALID_ARGUMENT with the path of the first thing in it
 * that cannot be played; what only one kind of fault has is not looked at.
 */
export function readSchedule(text: string, field: string): Schedule {
  const refuse = (path: string, what: string) => invalidArgument(field, `${field}: ${path} ${what}.`);
  const object = (value: unknown, path: string): Json => {
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Json;
    throw refuse(path, "is no object");
  };
  const list = (value: unknown, path: string): readonly unknown[] => {
    if (Array.isArray(value)) return value;
    throw refuse(path, "is no list");
  };
  const require = (value: Json, path: string, checks: Readonly<Record<string, Check>>): void => {
    for (const [name, check] of Object.entries(checks)) {
      const found = JSON.stringify(value[name]) ?? "missing";
      if (!check(value[name])) throw refuse(`${path}${name}`, `cannot be ${found}`);
    }
  };

  const schedule = object(parse(text, field), "the schedule");
  require(schedule, "", SCHEDULE);
  for (const [index, one] of list(schedule.migrations, "migrations").entries()) {
    require(object(one, `migrations[${index}]`), `migrations[${index}].`, MIGRATION);
  }
  for (const [index, one] of list(schedule.faults, "faults").entries()) {
    const path = `faults[${index}]`;
    const fault = object(one, path);
    require(fault, `${path}.`, { kind: isText });
    require(object(fault.when, `${path}.when`), `${path}.when.`, WHEN);
  }
  return schedule as unknown as Schedule;
}

function parse(text: string, field: string): unknown {
  try {
    return JSON.parse(text);
  } catch (thrown) {
    throw invalidArgument(field, `${field}: that is not JSON: ${(thrown as Error).message}.`);
  }
}

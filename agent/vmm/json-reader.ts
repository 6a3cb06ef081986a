import { SwitchoverError } from "../../proto/error.ts";
import { isJsonObject, type JsonObject } from "./qmp-codec.ts";

/** Reads QEMU's answers: every function throws INTERNAL, reason QMP_MALFORMED, naming the command and the field. */
export function readObject(value: unknown, command: string): JsonObject {
  if (isJsonObject(value)) return value;
  throw malformed(command, "is not an object");
}

export function readList(value: unknown, command: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw malformed(command, "is not a list");
}

export function readText(object: JsonObject, key: string, command: string): string {
  const value = object[key];
  if (typeof value === "string") return value;
  throw malformed(command, `has no text "${key}"`);
}

export function readTruth(object: JsonObject, key: string, command: string): boolean {
  const value = object[key];
  if (typeof value === "boolean") return value;
  throw malformed(command, `has no truth value "${key}"`);
}

/** Undefined where the field is missing or no number: QEMU leaves out what does not apply. */
export function optionalNumber(object: JsonObject, key: string): number | undefined {
  const value = object[key];
  return typeof value === "number" ? value : undefined;
}

export function optionalText(object: JsonObject, key: string): string | undefined {
  const value = object[key];
  return typeof value === "string" ? value : undefined;
}

function malformed(command: string, fault: string): SwitchoverError {
  return new SwitchoverError("INTERNAL", `QEMU's answer to "${command}" ${fault}.`, {
    reason: "QMP_MALFORMED",
    metadata: { command },
  });
}

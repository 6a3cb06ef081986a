import type { SwitchoverError } from "../../proto/error.ts";
import { type MigrationStatus, parseMigrationStatus } from "./migration-status.ts";
import type { JsonObject } from "./qmp-codec.ts";

/** What a VMM says of its own accord. The names in brackets are QEMU's. */
export type VmmEvent = {
  /** When QEMU says it happened. */
  readonly atUnixUs: number;
  /** When this process read it. */
  readonly receivedAtUnixUs: number;
} & VmmEventBody;

export type VmmEventBody =
  /** The CPUs stopped (STOP); it carries no reason. */
  | { readonly kind: "stop" }
  /** The CPUs run (RESUME); it may come without a stop before it. */
  | { readonly kind: "resume" }
  /** MIGRATION, needs the capability `events` on that side. `statusText` is QEMU's word, also where unknown. */
  | {
      readonly kind: "migrationStatusChanged";
      readonly status: MigrationStatus;
      readonly statusText: string;
    }
  /** Another pass over the guest's memory begins (MIGRATION_PASS); the first is 1. */
  | { readonly kind: "migrationPassed"; readonly pass: number }
  /** SHUTDOWN; `reason` as QEMU's ShutdownCause spells it (`guest-shutdown`, `host-qmp-quit`, ...). */
  | { readonly kind: "shutdown"; readonly by: "guest" | "host"; readonly reason: string }
  /** RESET. */
  | { readonly kind: "reset"; readonly by: "guest" | "host"; readonly reason: string }
  /** The ACPI power button was pressed (POWERDOWN). */
  | { readonly kind: "powerdown" }
  /** GUEST_PANICKED; `action` is what QEMU does then: `pause`, `poweroff` or `run`. */
  | { readonly kind: "guestPanicked"; readonly action: string }
  /** BLOCK_IO_ERROR of a drive, or of a node without one; with the action `stop` the CPUs stop with run state `io-error`. */
  | {
      readonly kind: "blockIoError";
      readonly device: string;
      readonly action: string;
      readonly reason: string;
    }
  /** WATCHDOG; `action` is what QEMU does then: `pause`, `reset`, `shutdown`, `poweroff`, `debug`, `none`, ... */
  | { readonly kind: "watchdog"; readonly action: string }
  /** The guest suspended itself to memory (SUSPEND): its CPUs stand, and no STOP says so. */
  | { readonly kind: "suspend" }
  /** Its suspension ended (WAKEUP); no RESUME says so. A transfer's end may make QEMU say it of CPUs that stand. */
  | { readonly kind: "wakeup" }
  /** A start that it had not answered in time was not carried out, and will not be. */
  | { readonly kind: "startRefused"; readonly sentence: string }
  /** The connection ended and not by us: nothing is known of the VMM from here on. It may be alive. */
  | { readonly kind: "disconnected"; readonly error: SwitchoverError }
  /** Anything else QEMU reports; changes nothing here. */
  | { readonly kind: "other"; readonly name: string; readonly data: JsonObject };

/** The event that a QMP event stands for. Never fails: an event whose data is not as expected is `other`. */
export function toVmmEvent(event: {
  readonly name: string;
  readonly data: JsonObject;
  readonly atUnixUs: number;
  readonly receivedAtUnixUs: number;
}): VmmEvent {
  const { name, data, atUnixUs, receivedAtUnixUs } = event;
  return { atUnixUs, receivedAtUnixUs, ...(knownBody(name, data) ?? { kind: "other", name, data }) };
}

function knownBody(name: string, data: JsonObject): VmmEventBody | undefined {
  switch (name) {
    case "STOP":
      return { kind: "stop" };
    case "RESUME":
      return { kind: "resume" };
    case "MIGRATION": {
      const statusText = textOf(data.status);
      if (statusText === "") return undefined;
      return { kind: "migrationStatusChanged", status: parseMigrationStatus(statusText), statusText };
    }
    case "MIGRATION_PASS": {
      const pass = data.pass;
      return typeof pass === "number" ? { kind: "migrationPassed", pass } : undefined;
    }
    case "SHUTDOWN":
      return { kind: "shutdown", by: initiatorOf(data), reason: textOf(data.reason) };
    case "RESET":
      return { kind: "reset", by: initiatorOf(data), reason: textOf(data.reason) };
    case "POWERDOWN":
      return { kind: "powerdown" };
    case "GUEST_PANICKED":
      return { kind: "guestPanicked", action: textOf(data.action) };
    case "WATCHDOG":
      return { kind: "watchdog", action: textOf(data.action) };
    case "SUSPEND":
      return { kind: "suspend" };
    case "WAKEUP":
      return { kind: "wakeup" };
    case "BLOCK_IO_ERROR":
      return {
        kind: "blockIoError",
        device: textOf(data.device) || textOf(data["node-name"]),
        action: textOf(data.action),
        reason: textOf(data.reason),
      };
    default:
      return undefined;
  }
}

function initiatorOf(data: JsonObject): "guest" | "host" {
  return data.guest === true ? "guest" : "host";
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

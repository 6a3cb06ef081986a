import type { GuestOperation } from "../../../agent/guest/guest-operation.ts";

/**
 * What a line of a gate is called: the operation's kind, and what tells it from others of that kind, such as
 * `journal handedOff`, `publish transferStatusChanged active`, `sendCont`.
 */
export function gateLineOf(operation: GuestOperation): string {
  switch (operation.kind) {
    case "journal":
    case "journalWhenPossible":
      return `${operation.kind} ${operation.word.kind}`;
    case "publish":
      return operation.event.$case === "transferStatusChanged"
        ? `publish transferStatusChanged ${operation.event.value.status}`
        : `publish ${operation.event.$case}`;
    case "readRunState":
      return `readRunState ${operation.purpose}`;
    case "setTimer":
      return `setTimer ${operation.timer}`;
    default:
      return operation.kind;
  }
}

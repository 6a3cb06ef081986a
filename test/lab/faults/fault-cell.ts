import type { MigrationMode } from "../bare-migration.ts";

/**
 * One fault at one instant of a migration, and what must come of it. Sides are roles: the guest is migrated from
 * wherever the cell before left it.
 */
export interface FaultCell {
  /** Unique; letters, digits and dashes. */
  readonly name: string;
  readonly instant: FaultInstant;
  readonly mode: MigrationMode;
  readonly hold: GateHold;
  readonly fault: Fault;
  /** What may come of it, the likeliest first; more than one where QEMU's own speed decides. */
  readonly ends: readonly CellEnd[];
  /** A phase that the migration must have gone through. */
  readonly through?: "HANDING_BACK" | "POST_COPY_PAUSED" | "AMBIGUOUS";
}

/** In the order of a migration. */
export const FAULT_INSTANTS = [
  "preparing",
  "transferring",
  "between STOP and hand-off",
  "between hand-off and cont",
  "in post-copy",
  "at completion",
] as const;
export type FaultInstant = (typeof FAULT_INSTANTS)[number];

export type CellSide = "source" | "destination";

/** The agent that stands still, and the line of its gate (`gateLineOf`) that it has come to and not carried out. */
export interface GateHold {
  readonly side: CellSide;
  readonly line: string;
}

export type Victim =
  | "source-agent"
  | "destination-agent"
  | "coordinator"
  | "nats-server"
  | "source-qemu"
  | "destination-qemu";

export type Fault =
  /** The agent stands at its line for a moment: what the others are to be compared with. */
  | { readonly kind: "none" }
  /** SIGKILL. Agents, coordinator and nats-server are started again, as a service manager does; a QEMU is not. */
  | { readonly kind: "kill"; readonly victim: Victim }
  /** SIGSTOP, and SIGCONT after a while. */
  | { readonly kind: "stop"; readonly victim: Victim; readonly forMs: number }
  /** The host's control link carries gRPC, NATS and the migration stream; its uplink carries the guests' frames. */
  | {
      readonly kind: "cut";
      readonly network: "control" | "fabric";
      readonly side: CellSide;
      readonly forMs: number;
    }
  /** No block is free on the file system of the agent's journal. */
  | { readonly kind: "fill"; readonly side: CellSide; readonly forMs: number }
  /** The host's agent and QEMU are killed and its control link is cut, for good; an operator says so. */
  | { readonly kind: "host-death"; readonly side: CellSide };

export interface CellEnd {
  readonly phase: "COMPLETED" | "FAILED";
  readonly outcome: "RUNS_ON_SOURCE" | "RUNS_ON_DESTINATION" | "GUEST_LOST";
  /** By the witnesses, once all is healed. */
  readonly runs: CellSide | "nowhere";
}

export const MOVED: CellEnd = { phase: "COMPLETED", outcome: "RUNS_ON_DESTINATION", runs: "destination" };
export const STAYED: CellEnd = { phase: "FAILED", outcome: "RUNS_ON_SOURCE", runs: "source" };
export const LOST: CellEnd = { phase: "FAILED", outcome: "GUEST_LOST", runs: "nowhere" };
/** Told as moved, and crashed there after. */
export const MOVED_AND_CRASHED: CellEnd = { ...MOVED, runs: "nowhere" };

export function cellEndText(end: CellEnd): string {
  return `${end.phase} ${end.outcome}, runs ${end.runs === "nowhere" ? "nowhere" : `at the ${end.runs}`}`;
}

export function faultText(fault: Fault): string {
  switch (fault.kind) {
    case "none":
      return "none";
    case "kill":
      return `SIGKILL of ${fault.victim}`;
    case "stop":
      return `SIGSTOP of ${fault.victim} for ${fault.forMs / 1000} s`;
    case "cut":
      return `${fault.network} network of the ${fault.side} cut for ${fault.forMs / 1000} s`;
    case "fill":
      return `disk of the ${fault.side}'s journal full for ${fault.forMs / 1000} s`;
    case "host-death":
      return `${fault.side} host dead`;
  }
}

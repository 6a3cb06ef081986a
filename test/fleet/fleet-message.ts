import type { Whereabouts } from "./fleet-guest.ts";

/** What a process of the fleet is asked, a JSON line each. */
export type FleetQuestion =
  /** Boots guests, each with a QEMU that waits for it at its destination. */
  | { readonly t: "prepare"; readonly guestIds: readonly string[] }
  /** Where the guests are. */
  | { readonly t: "find"; readonly guestIds: readonly string[] }
  /** Ends the guests' QEMUs. */
  | { readonly t: "end"; readonly guestIds: readonly string[] }
  /** What was measured and found since the last time. */
  | { readonly t: "report" }
  /** How many events of the agents the feed is not known to hold, once that is none or after 10 s. */
  | { readonly t: "unsent" };

export interface PreparedGuest {
  readonly guestId: string;
  readonly sourceHostId: string;
  readonly destinationHostId: string;
}

export interface FoundGuest {
  readonly guestId: string;
  readonly runs: Whereabouts;
  readonly registered: Whereabouts;
}

export interface FleetReport {
  readonly phaseLagsMs: readonly number[];
  readonly stepLagsMs: readonly number[];
  /** Calls that agents received. */
  readonly calls: Readonly<Record<string, number>>;
  /** By reason. */
  readonly alarms: Readonly<Record<string, number>>;
  readonly violations: readonly string[];
  /** By how much the process was late itself, sampled every 10 ms: so much of any lag may be its own. */
  readonly loopDelaysMs: readonly number[];
  /** User and system seconds. */
  readonly cpuS: number;
}

export interface FleetAnswers {
  readonly prepare: readonly PreparedGuest[];
  readonly find: readonly FoundGuest[];
  readonly end: null;
  readonly report: FleetReport;
  readonly unsent: number;
}

/** What it writes, a JSON line each: first that its hosts listen. */
export type FleetLine =
  | { readonly t: "ready" }
  | { readonly t: "answer"; readonly number: number; readonly value: unknown }
  | { readonly t: "failed"; readonly number: number; readonly sentence: string };

import { setTimeout as delay } from "node:timers/promises";
import type { Client } from "@grpc/grpc-js";
import { SwitchoverError } from "../../proto/error.ts";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { type EndedMigration, hearEndedMigrations } from "../fleet/ended-migrations.ts";
import type { PreparedGuest } from "../fleet/fleet-message.ts";
import { type FleetMode, requestMigration, specOf } from "../fleet/requested-migration.ts";
import { deadlineExceeded } from "../lab/deadline.ts";

export interface FlowOptions {
  readonly client: Client;
  readonly natsUrl: string;
  readonly guests: readonly PreparedGuest[];
  readonly modeOf: (index: number) => FleetMode;
  /** So many are under way at a time, from `rampMs` on until the last have begun. */
  readonly concurrent: number;
  readonly rampMs: number;
  /** Without an end for so long the flow is given up. */
  readonly silentForMs: number;
  readonly onEnd: (guestId: string) => void;
}

export interface FlowResult {
  readonly durationS: number;
  readonly completed: number;
  /** Of each that did not complete, why. */
  readonly others: readonly string[];
  readonly peakConcurrent: number;
  /** Calls that had to be repeated. */
  readonly repeats: number;
  /** From the first call to the answer. */
  readonly startMs: readonly number[];
}

/** Migrates each guest once, so many at a time: the first begin evenly over `rampMs`, each other when one has ended. */
export async function runFlow(options: FlowOptions): Promise<FlowResult> {
  const { client, concurrent, guests, rampMs } = options;
  const underWay = new Set<string>();
  const startMs: number[] = [];
  const others: string[] = [];
  let [next, completed, peakConcurrent, repeats] = [0, 0, 0, 0];
  let lastEndMs = performance.now();
  let wake = (): void => {};

  const begin = async (): Promise<void> => {
    const index = next;
    const guest = guests[index];
    if (guest === undefined) return;
    next += 1;
    underWay.add(guest.guestId);
    peakConcurrent = Math.max(peakConcurrent, underWay.size);
    const calledMs = performance.now();
    try {
      const spec = specOf(guest, options.modeOf(index));
      repeats += (await requestMigration([client], `request-${index}`, spec)).repeats;
      startMs.push(performance.now() - calledMs);
    } catch (thrown) {
      others.push(`${guest.guestId} did not begin: ${SwitchoverError.from(thrown).message}`);
      ended(guest.guestId);
    }
  };
  const ended = (guestId: string): void => {
    if (!underWay.delete(guestId)) return;
    lastEndMs = performance.now();
    options.onEnd(guestId);
    if (next >= concurrent) void begin();
    wake();
  };
  const hear = ({ guestId, phase, reason }: EndedMigration): void => {
    if (!underWay.has(guestId)) return;
    if (phase === Phase.COMPLETED) completed += 1;
    else others.push(`${guestId} did not complete: ${reason}`);
    ended(guestId);
  };

  const connection = await hearEndedMigrations(options.natsUrl, hear);
  const beganMs = performance.now();
  try {
    for (let index = 0; index < Math.min(concurrent, guests.length); index += 1) {
      const dueMs = beganMs + (index * rampMs) / concurrent;
      if (dueMs > performance.now()) await delay(dueMs - performance.now());
      void begin();
    }
    while (next < guests.length || underWay.size > 0) {
      const silence = new Promise<void>((resolve) => {
        wake = resolve;
      });
      await Promise.race([silence, delay(1_000)]);
      if (performance.now() - lastEndMs > options.silentForMs) {
        const [first] = underWay;
        throw deadlineExceeded(`The end of ${underWay.size} migrations (${first}, ...)`, options.silentForMs);
      }
    }
  } finally {
    await connection.close();
  }
  const durationS = (performance.now() - beganMs) / 1_000;
  return { durationS, completed, others, peakConcurrent, repeats, startMs };
}

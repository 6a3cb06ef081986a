import { type CompleteState, newMigrationState } from "../../coordinator/migration/complete-state.ts";
import { HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import {
  type Instant,
  InstantKind,
  MigrationMode,
  MigrationSpec,
  Outcome,
  Phase,
} from "../../proto/gen/switchover/v1/migration.ts";
import { type GuestId, migrationIdOf } from "../../proto/ids.ts";

/** What a test says of a migration; the rest is as of any that was completed. */
export interface ToldMigration {
  readonly guest: string;
  readonly from?: string;
  readonly to?: string;
  readonly mode?: MigrationMode;
  readonly atUnixMs?: number;
  /** The last one; those on the way to it are told too. */
  readonly phase?: Phase;
  readonly labels?: Readonly<Record<string, string>>;
  readonly reason?: string;
  readonly revision?: bigint;
  readonly epoch?: bigint;
  /** How long the CPUs stood still; the other instants lie within. */
  readonly blackoutUs?: number;
  readonly nics?: number;
  /** Keeps two of a guest and millisecond apart. */
  readonly random?: number;
}

const WAY: readonly Phase[] = [
  Phase.PENDING,
  Phase.PREPARING,
  Phase.TRANSFERRING,
  Phase.SWITCHING_OVER,
  Phase.COMPLETING,
];
/** As the README's own example has them, as parts of its blackout, in order. */
const SHARES: readonly (readonly [InstantKind, "source" | "destination", number])[] = [
  [InstantKind.STOPPED, "source", 0],
  [InstantKind.STOP_RECEIVED, "source", 0.012],
  [InstantKind.DEREGISTERED, "source", 0.06],
  [InstantKind.HANDED_OFF, "source", 0.304],
  [InstantKind.HAND_OFF_RECEIVED, "destination", 0.41],
  [InstantKind.REGISTERED, "destination", 0.582],
  [InstantKind.READY, "destination", 0.967],
  [InstantKind.CONT_SENT, "destination", 0.985],
  [InstantKind.RESUMED, "destination", 1],
  [InstantKind.ANNOUNCED, "destination", 1.029],
];
const BLACKOUT_US = 11_592;
/** Between two phases. */
const PHASE_US = 70_000n;

/** A migration's record as a coordinator writes it. A function of what is told. */
export function toldMigration(told: ToldMigration): CompleteState {
  const { from = "ha", guest, to = "hb", phase = Phase.COMPLETED } = told;
  const atUnixMs = told.atUnixMs ?? 1_795_456_900_000;
  const atUnixUs = BigInt(atUnixMs) * 1_000n;
  const migrationId = migrationIdOf(guest as GuestId, atUnixMs, told.random ?? 0.5);
  const spec = MigrationSpec.create({
    guestId: guest,
    sourceHostId: from,
    destinationHostId: to,
    mode: told.mode ?? MigrationMode.LIVE,
    labels: { ...told.labels },
  });
  const fence = { epoch: told.epoch ?? 1n, revision: told.revision ?? 9n };
  const started = newMigrationState(migrationId, `${migrationId}-request`, spec, fence, atUnixUs);
  const isOnTheWay = WAY.includes(phase);
  const phases = [...WAY.slice(0, isOnTheWay ? WAY.indexOf(phase) : WAY.length), phase];
  const hasSwitched = phases.includes(Phase.COMPLETING) && phase !== Phase.CANCELLED;
  const blackoutUs = told.blackoutUs ?? BLACKOUT_US;
  return {
    ...started,
    source: { ...started.source, instanceId: `${guest}-1` },
    destination: { ...started.destination, instanceId: `${guest}-2` },
    handOff: HandOff.create({
      nics: {
        nics: Array.from({ length: told.nics ?? 1 }, (_, index) => ({
          nicId: `eth${index}`,
          macAddress: `52:54:00:5e:00:0${index + 1}`,
        })),
      },
    }),
    migration: {
      ...started.migration,
      phase,
      reason: told.reason ?? "",
      reasonCode: told.reason === undefined ? "" : "TOLD",
      outcome: outcomeOf(phase),
      phases: phases.map((one, index) => ({
        phase: one,
        atUnixUs: atUnixUs + BigInt(index) * PHASE_US,
        reason: "",
      })),
      instants: hasSwitched ? instantsOf(from, to, atUnixUs + 3n * PHASE_US, blackoutUs) : [],
    },
  };
}

function instantsOf(from: string, to: string, stopUnixUs: bigint, blackoutUs: number): Instant[] {
  return SHARES.map(([kind, side, share]) => ({
    kind,
    hostId: side === "source" ? from : to,
    atUnixUs: stopUnixUs + BigInt(Math.round(share * blackoutUs)),
    round: 0,
    nicId: "",
  }));
}

function outcomeOf(phase: Phase): Outcome {
  if (phase === Phase.COMPLETED) return Outcome.RUNS_ON_DESTINATION;
  return phase === Phase.CANCELLED || phase === Phase.FAILED ? Outcome.RUNS_ON_SOURCE : Outcome.UNSPECIFIED;
}

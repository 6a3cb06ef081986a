import { setTimeout as delay } from "node:timers/promises";
import { SwitchoverError } from "../../proto/error.ts";
import type { GuestQemu } from "./guest.ts";
import { QmpConnection, type QmpEvent } from "./qmp-connection.ts";
import { unixMicros } from "./realtime-clock.ts";

/**
 * One migration by QEMU alone: nobody registers anything, the bridges learn. It is the floor that managed
 * migrations are measured against, and it knows nothing of namespaces, taps or how the QEMUs were started.
 */
export type MigrationMode = "live" | "post-copy";

export interface BareMigrationOptions {
  readonly source: GuestQemu;
  /** Started with `-incoming defer`, on a tap of its own host. */
  readonly destination: GuestQemu;
  /** Where the destination listens: an address of its host on the control network. */
  readonly destinationAddress: string;
  readonly port?: number;
  readonly mode: MigrationMode;
  /** Default: the lab's. */
  readonly limits?: Partial<TransferLimits>;
  /** Default: QEMU starts the guest by itself as soon as it is loaded. */
  readonly gate?: BareGate;
}

/** Somebody who keeps the destination from starting by itself, and does something first. */
export interface BareGate {
  /** Called at the source's STOP, and awaited before the migration counts as done. */
  onStop(): Promise<void>;
  /** Called when the destination has loaded the guest; `cont` follows. */
  beforeCont(): Promise<void>;
}

/** Times are QEMU's own, but for the readiness of a gated destination in post-copy, which QEMU does not tell. */
export interface BareMigrationReport {
  readonly mode: MigrationMode;
  readonly source: string;
  readonly destination: string;
  /** From the source's STOP to the destination's RESUME. */
  readonly stopToResumeMs: number;
  /** From the `migrate` command's `setup` to `completed` on both sides. */
  readonly totalMs: number;
  readonly sourceStopAtUnixUs: number;
  /** The guest was loaded: RESUME itself, where QEMU starts it without being asked. */
  readonly readyAtUnixUs: number;
  readonly destinationResumeAtUnixUs: number;
}

/**
 * When the lab asks for post-copy: at its bandwidth some ten of the guest's fifty-five megabytes are still to come then.
 * Earlier ones send more of the state after STOP and cost more probes.
 */
const LAB_POST_COPY_AFTER_MS = 1500;
const MIGRATION_TIMEOUT_MS = 30_000;

/** QEMU's migration parameters for the lab: slow enough to switch to post-copy, quick enough to run often. */
const LAB_MAX_BANDWIDTH = 31_457_280;
const LAB_DOWNTIME_LIMIT_MS = 100;
/**
 * For guests of several NICs, which write to some megabytes more in the long first pass: by the limit above QEMU makes a
 * last pass of a few milliseconds, and the emulator then loses what the guest writes meanwhile to pages of that pass. Of
 * the guests with eight NICs every second one died so.
 */
const LAB_DOWNTIME_LIMIT_OF_SEVERAL_NICS_MS = 200;

/** What decides how long a transfer and its last pass take: what is compared must have the same. */
export interface TransferLimits {
  /** In bytes a second. */
  readonly maxBandwidth: number;
  readonly downtimeLimitMs: number;
  /** When the CPUs move in post-copy mode, after the transfer became active. */
  readonly postCopyAfterMs: number;
}

/** The limits of a lab's guest with so many NICs. */
export function labLimits(nicCount: number): TransferLimits {
  return {
    maxBandwidth: LAB_MAX_BANDWIDTH,
    downtimeLimitMs: nicCount > 1 ? LAB_DOWNTIME_LIMIT_OF_SEVERAL_NICS_MS : LAB_DOWNTIME_LIMIT_MS,
    postCopyAfterMs: LAB_POST_COPY_AFTER_MS,
  };
}

/**
 * Migrates and returns when both sides are done; the source QEMU is left in `postmigrate`. Throws ABORTED
 * when QEMU reports `failed`, DEADLINE_EXCEEDED after 30 s. The agent sockets of both must be free.
 */
export async function migrateBare(options: BareMigrationOptions): Promise<BareMigrationReport> {
  const source = await QmpConnection.open(options.source.qmpAgentPath);
  let destination: QmpConnection | undefined;
  try {
    destination = await QmpConnection.open(options.destination.qmpAgentPath);
    return await drive(source, destination, options);
  } finally {
    source.close();
    destination?.close();
  }
}

async function drive(
  source: QmpConnection,
  destination: QmpConnection,
  options: BareMigrationOptions,
): Promise<BareMigrationReport> {
  // Stated both ways: a QEMU that came by post-copy still has the capability when it becomes a source.
  const capabilities = [
    { capability: "events", state: true },
    { capability: "postcopy-ram", state: options.mode === "post-copy" },
  ];
  for (const side of [source, destination]) await side.execute("migrate-set-capabilities", { capabilities });
  const limits = { ...labLimits(options.source.nics.length), ...options.limits };
  await source.execute("migrate-set-parameters", {
    "max-bandwidth": limits.maxBandwidth,
    "downtime-limit": limits.downtimeLimitMs,
  });
  const uri = `tcp:${options.destinationAddress}:${options.port ?? 4444}`;
  // In `inmigrate` it clears autostart.
  if (options.gate !== undefined) await destination.execute("stop");
  await destination.execute("migrate-incoming", { uri });

  const watch = (side: QmpConnection, matches: (event: QmpEvent) => boolean, what: string) =>
    side.waitForEvent(
      (event) => {
        if (event.name === "MIGRATION" && event.data.status === "failed")
          throw migrationFailed(what, options);
        return matches(event);
      },
      MIGRATION_TIMEOUT_MS,
      what,
    );
  const status = (wanted: string) => (event: QmpEvent) =>
    event.name === "MIGRATION" && event.data.status === wanted;

  const events = Promise.all([
    watch(source, status("setup"), "The source's migration setup"),
    watch(source, ({ name }) => name === "STOP", "The source's STOP"),
    watch(destination, ({ name }) => name === "RESUME", "The destination's RESUME"),
    watch(source, status("completed"), "The source's completion"),
    watch(destination, status("completed"), "The destination's completion"),
  ]);
  const active = source.waitForEvent(status("active"), MIGRATION_TIMEOUT_MS, "The transfer's start");
  const gated =
    options.gate === undefined
      ? undefined
      : passGate(options.gate, options.mode, destination, {
          stop: watch(source, ({ name }) => name === "STOP", "The source's STOP"),
          loading: watch(
            destination,
            status(options.mode === "live" ? "completed" : "postcopy-active"),
            "The load of the guest",
          ),
        });
  gated?.catch(() => {});
  // All are awaited below; a refused `migrate` must not leave a second, unhandled failure behind.
  events.catch(() => {});
  active.catch(() => {});
  await source.execute("migrate", { uri });
  if (options.mode === "post-copy") {
    await active;
    await delay(limits.postCopyAfterMs);
    await source.execute("migrate-start-postcopy");
  }
  const [setup, stop, resume, sourceDone, destinationDone] = await events;
  const readyAtUnixUs = (await gated) ?? resume.atUnixUs;
  return {
    mode: options.mode,
    source: options.source.instance,
    destination: options.destination.instance,
    stopToResumeMs: (resume.atUnixUs - stop.atUnixUs) / 1000,
    totalMs: (Math.max(sourceDone.atUnixUs, destinationDone.atUnixUs) - setup.atUnixUs) / 1000,
    sourceStopAtUnixUs: stop.atUnixUs,
    readyAtUnixUs,
    destinationResumeAtUnixUs: resume.atUnixUs,
  };
}

/** Returns when the destination was ready. */
async function passGate(
  gate: BareGate,
  mode: MigrationMode,
  destination: QmpConnection,
  { stop, loading }: { readonly stop: Promise<QmpEvent>; readonly loading: Promise<QmpEvent> },
): Promise<number> {
  const closed = stop.then(() => gate.onStop());
  closed.catch(() => {});
  let readyAtUnixUs = (await loading).atUnixUs;
  if (mode === "post-copy") {
    // QEMU says by no event when it has loaded the devices' state.
    while ((await destination.execute<{ status: string }>("query-status")).status === "inmigrate");
    readyAtUnixUs = unixMicros();
  }
  await gate.beforeCont();
  await destination.execute("cont");
  await closed;
  return readyAtUnixUs;
}

function migrationFailed(what: string, { source, destination }: BareMigrationOptions): SwitchoverError {
  const complaints = `${source.stderrText()} ${destination.stderrText()}`.trim();
  return new SwitchoverError("ABORTED", `${what} did not come: QEMU's migration failed. ${complaints}`, {
    reason: "MIGRATION_FAILED",
    metadata: { source: source.instance, destination: destination.instance },
  });
}

/** Starts the CPUs of a first boot with nothing but QMP `cont`. */
export async function bootBare(guest: GuestQemu): Promise<void> {
  await withAgentSocket(guest, (qmp) => qmp.execute("cont"));
}

/** Ends a QEMU by QMP `quit` and waits for its end, which frees its disk lock and its tap. */
export async function quitBare(guest: GuestQemu): Promise<void> {
  await withAgentSocket(guest, async (qmp) => {
    await qmp.execute("quit");
    await qmp.closed;
  });
  await guest.waitForExit(5000);
  guest.heartbeats.close();
}

async function withAgentSocket(
  guest: GuestQemu,
  use: (qmp: QmpConnection) => Promise<unknown>,
): Promise<void> {
  const qmp = await QmpConnection.open(guest.qmpAgentPath);
  try {
    await use(qmp);
  } finally {
    qmp.close();
  }
}

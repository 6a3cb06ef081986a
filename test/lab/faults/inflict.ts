import { setTimeout as delay } from "node:timers/promises";
import type { GuestQemu } from "../guest.ts";
import { GUEST_TAP } from "../managed/managed-lab.ts";
import { unixMicros } from "../realtime-clock.ts";
import type { Absence } from "../witness/invariants.ts";
import type { CellSide, Fault, Victim } from "./fault-cell.ts";
import { type FaultLab, required } from "./fault-lab.ts";

/** As a service manager starts a program again that was killed. */
const RESTART_MS = 200;
/** From an agent's start until its bounds count, on a machine that it shares with two guests and all witnesses. */
const AGENT_START_US = 3_000_000;
const EXIT_TIMEOUT_MS = 5_000;

/** The two QEMUs of the migration that is hit. */
export type Sides = Readonly<Record<CellSide, GuestQemu>>;

/** A fault that has struck. */
export interface Inflicted {
  /** When it is over, after the strike; undefined for one that lasts until the migration has ended. */
  readonly mendAfterMs: number | undefined;
  /** Makes everything healthy again that can be; what is killed is started, what is stopped goes on. */
  mend(): Promise<void>;
  /** When which agent could not act, once mended. */
  absences(): readonly Absence[];
}

/** Strikes and returns when it has struck: a killed process is dead, a stopped one stands. */
export async function inflict(lab: FaultLab, fault: Fault, sides: Sides): Promise<Inflicted> {
  const { topology } = lab.lab;
  switch (fault.kind) {
    case "none":
      return inflicted(0, async () => {});
    case "kill":
      return kill(lab, fault.victim, sides);
    case "stop":
      return stop(lab, fault.victim, fault.forMs, sides);
    case "cut": {
      const { host } = sides[fault.side];
      const isControl = fault.network === "control";
      await (isControl ? topology.cutControl(host) : topology.cutFabric(host));
      return inflicted(fault.forMs, () =>
        isControl ? topology.restoreControl(host) : topology.restoreFabric(host),
      );
    }
    case "fill": {
      const disk = required(lab.disks, sides[fault.side].host);
      await disk.fill(lab.guest.identity.guestId);
      return inflicted(fault.forMs, () => disk.free());
    }
    case "host-death":
      return killHost(lab, sides[fault.side]);
  }
}

async function kill(lab: FaultLab, victim: Victim, sides: Sides): Promise<Inflicted> {
  const { cluster } = lab;
  switch (victim) {
    case "source-qemu":
    case "destination-qemu": {
      const qemu = sides[victim === "source-qemu" ? "source" : "destination"];
      qemu.signal("SIGKILL");
      await qemu.waitForExit(EXIT_TIMEOUT_MS);
      return inflicted(0, async () => {});
    }
    case "coordinator":
      await cluster.coordinator.kill();
      return inflicted(RESTART_MS, () => cluster.restartCoordinator());
    case "nats-server":
      await cluster.natsServer.kill();
      return inflicted(RESTART_MS, () => cluster.restartNatsServer());
    case "source-agent":
    case "destination-agent": {
      const { host } = sides[victim === "source-agent" ? "source" : "destination"];
      const fromUnixUs = unixMicros();
      let startedUnixUs = fromUnixUs;
      await cluster.agentProcess(host).kill();
      const restart = async () => {
        startedUnixUs = unixMicros();
        await cluster.restartAgent(host);
      };
      return inflicted(RESTART_MS, restart, () => [
        { host, fromUnixUs, toUnixUs: startedUnixUs + AGENT_START_US },
      ]);
    }
  }
}

function stop(lab: FaultLab, victim: Victim, forMs: number, sides: Sides): Inflicted {
  const { cluster } = lab;
  const fromUnixUs = unixMicros();
  let toUnixUs = fromUnixUs;
  const stopped = (target: { signal(signal: NodeJS.Signals): void }, hosts: readonly string[]): Inflicted => {
    target.signal("SIGSTOP");
    const goOn = async () => {
      target.signal("SIGCONT");
      toUnixUs = unixMicros();
    };
    return inflicted(forMs, goOn, () => hosts.map((host) => ({ host, fromUnixUs, toUnixUs })));
  };
  switch (victim) {
    // What its agent asks of it waits as long as it stands.
    case "source-qemu":
      return stopped(sides.source, [sides.source.host]);
    case "destination-qemu":
      return stopped(sides.destination, [sides.destination.host]);
    case "source-agent":
      return stopped(cluster.agentProcess(sides.source.host), [sides.source.host]);
    case "destination-agent":
      return stopped(cluster.agentProcess(sides.destination.host), [sides.destination.host]);
    case "coordinator":
      return stopped(cluster.coordinator, []);
    case "nats-server":
      return stopped(cluster.natsServer, []);
  }
}

/** Its kernel dies too, and with that the tap and every entry that pointed there. */
async function killHost(lab: FaultLab, qemu: GuestQemu): Promise<Inflicted> {
  const { cluster } = lab;
  const { topology } = lab.lab;
  const { host } = qemu;
  const fromUnixUs = unixMicros();
  qemu.signal("SIGKILL");
  await Promise.all([cluster.agentProcess(host).kill(), qemu.waitForExit(EXIT_TIMEOUT_MS)]);
  await topology.cutControl(host);
  await topology.host(host).namespace.ip([`link delete ${GUEST_TAP}`]);
  const boot = async () => {
    await topology.restoreControl(host);
    await cluster.restartAgent(host);
  };
  return inflicted(undefined, boot, () => [{ host, fromUnixUs, toUnixUs: unixMicros() + AGENT_START_US }]);
}

function inflicted(
  mendAfterMs: number | undefined,
  mend: () => Promise<void>,
  absences: () => readonly Absence[] = () => [],
): Inflicted {
  return { mendAfterMs, mend, absences };
}

/** Waits as long as the fault lasts, and mends it. */
export async function mendInTime(fault: Inflicted): Promise<void> {
  await delay(fault.mendAfterMs ?? 0);
  await fault.mend();
}

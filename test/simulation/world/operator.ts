import { Phase } from "../../../proto/gen/switchover/v1/migration.ts";
import { Resolution } from "../../../proto/gen/switchover/v1/migration_service.ts";
import type { ControlPlane } from "./control-plane.ts";
import { GUEST_ID } from "./names.ts";
import type { World } from "./world.ts";

/** How long an operator leaves a migration alone that may still end by itself. Milliseconds. */
const PATIENCE_MS = 8_000;
/** How often he tries before he gives the guest up. */
const ROUNDS = 4;

const TERMINAL: ReadonlySet<Phase> = new Set([Phase.COMPLETED, Phase.CANCELLED, Phase.FAILED]);

/**
 * The person who is called where the system cannot go on by itself. States only what is so: a host is dead once he has
 * powered it off. What a lost state directory leaves behind is his to end, and nothing else is.
 */
export class Operator {
  readonly #world: World;
  readonly #control: ControlPlane;

  constructor(world: World, control: ControlPlane) {
    this.#world = world;
    this.#control = control;
  }

  /** Powers the host off, and says so. */
  declareDead(hostId: string): Promise<void> {
    this.#world.fenceHost(hostId);
    return this.#resolve([hostId], Resolution.UNSPECIFIED);
  }

  /** Says where the migration is to end; refused where that is not open. */
  endWith(resolution: Resolution): Promise<void> {
    if (resolution === Resolution.GUEST_LOST) this.#world.askedToGiveUp.add(this.#control.migrationId);
    return this.#resolve([], resolution);
  }

  /** Looks after what lost state directories left, until no migration is open and the guest is under a gate. */
  async attendToLostState(): Promise<void> {
    const { hosts, schedule, trace } = this.#world;
    const isRunningEnough = (schedule.adoptedAgain ?? "running") === "running";
    const isLost = (hostId: string) => (hosts.get(hostId)?.disk.losses ?? 0) > 0;
    if (![...hosts.keys()].some(isLost)) return;
    for (let round = 0; round < ROUNDS && (await this.#staysOpen()); round += 1) {
      // What is taken under the gate again its agent can answer for, as far as that can be known.
      await this.#control.adoptAgain(({ qemu }) => qemu.isRunning || !isRunningEnough);
      if (!(await this.#staysOpen())) break;
      const { source, destination } = this.#control;
      const dead = [destination, source].find((side) => side !== null && isLost(side.host.hostId));
      if (dead == null) await this.endWith(Resolution.GUEST_LOST);
      else {
        trace?.("operator", `powers ${dead.host.hostId} off`);
        await this.declareDead(dead.host.hostId);
        this.#world.startAgent(dead.host.hostId);
      }
    }
    if (this.#isOpen()) await this.endWith(Resolution.GUEST_LOST);
    await this.#staysOpen();
    await this.#control.adoptAgain((instance) => instance === this.#control.owner);
    await this.#control.startAgain();
  }

  /** Whether the migration is still open when his patience ends. */
  async #staysOpen(): Promise<boolean> {
    let patience: "left" | "over" = "left";
    const ended = this.#pause(PATIENCE_MS).then(() => {
      patience = "over";
    });
    while (this.#isOpen() && patience === "left") await Promise.race([ended, this.#world.nats.changed()]);
    return this.#isOpen();
  }

  #isOpen(): boolean {
    const held = this.#world.nats.record(GUEST_ID)?.migration;
    const phase = held?.migration?.phase;
    return held !== undefined && (phase === undefined || !TERMINAL.has(phase) || !held.archived);
  }

  #resolve(deadHostIds: string[], resolution: Resolution): Promise<void> {
    return this.#control.intervene((api, migrationId) =>
      api.resolveMigration({ migrationId, deadHostIds, resolution }),
    );
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.#world.control.process.after(delayMs, resolve));
  }
}

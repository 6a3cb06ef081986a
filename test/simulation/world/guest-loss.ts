import type { Qemu } from "../model/qemu.ts";
import { hasSaid } from "./journaled.ts";
import type { World } from "./world.ts";

/** Which fault took the guest, where it is lost: only a fault may, and only what was the guest's own. */
export class GuestLoss {
  readonly #world: World;
  readonly #takenAway: { readonly qemu: Qemu; readonly cause: string }[] = [];
  #causeOnceKnown: string | null = null;

  constructor(world: World) {
    this.#world = world;
  }

  /**
   * A fault takes a QEMU. Once its agent has journaled that it starts the guest or takes it over, the guest is its own;
   * a host that dies loses its journal's last lines, so that nobody knows.
   */
  takeAway(qemu: Qemu, cause: string, alone: "alone" | "with its host" = "alone"): void {
    const { transfer } = qemu;
    const hasLeft = transfer?.hasLeftSource() === true;
    // A source that dies before its word is written takes the word with it where its agent was away, too.
    const source = transfer?.source === qemu ? this.#world.instanceOf(qemu) : undefined;
    const isWordless = source !== undefined && !hasSaid(source, "handedOff");
    const isInDoubt = hasLeft && (alone !== "alone" || isWordless);
    this.#takenAway.push({ qemu, cause });
    this.#world.guest.takeAway(qemu, cause, isInDoubt ? "be its own" : "not be its own");
  }

  /**
   * Whose the guest was when a fault took it, the words tell that are about to be lost. With a source's word goes what the
   * guest could go on from where its VMM is gone already and nobody has acted on that word.
   */
  beforeStateIsLost(hostId: string): void {
    const wordless = this.#takenAway.find(({ qemu }) => this.#isWordOfAll(qemu, hostId));
    this.#causeOnceKnown ??= this.cause() ?? wordless?.cause ?? null;
  }

  /** Which fault took the guest, or may have; in words. */
  cause(): string | null {
    const known = this.#world.guest.lostForCause ?? this.#causeOnceKnown;
    if (known !== null) return known;
    const owned = this.#takenAway.find(({ qemu }) => this.#wasOwner(qemu));
    return owned?.cause ?? this.#takenAway.find(({ qemu }) => this.#wasHandedBack(qemu))?.cause ?? null;
  }

  /** In words, where nothing is left to go on from and no fault did that. */
  fault(): string | null {
    const { guest } = this.#world;
    if (guest.qemus.length === 0 || guest.hasSurvivor() || this.cause() !== null) return null;
    return "Nothing is left of the guest, and no fault took it.";
  }

  /** Whether the host's word is all that is left of the source, and of the destination's right to its guest. */
  #isWordOfAll(qemu: Qemu, hostId: string): boolean {
    const { transfer } = qemu;
    const source = this.#world.instanceOf(qemu);
    if (transfer?.source !== qemu || source?.host.hostId !== hostId || !hasSaid(source, "handedOff"))
      return false;
    return transfer.destination === undefined || !this.#wasOwner(transfer.destination);
  }

  #wasOwner(qemu: Qemu): boolean {
    const instance = this.#world.instanceOf(qemu);
    return instance !== undefined && (hasSaid(instance, "contSent") || hasSaid(instance, "takenOverPaused"));
  }

  /** It handed its guest off, and the destination, which could not start it, gave it back: to a QEMU that a fault took. */
  #wasHandedBack(qemu: Qemu): boolean {
    const { transfer } = qemu;
    if (transfer?.source !== qemu || transfer.destination === undefined) return false;
    const source = this.#world.instanceOf(qemu);
    const destination = this.#world.instanceOf(transfer.destination);
    if (source === undefined || destination === undefined) return false;
    return hasSaid(source, "handedOff") && hasSaid(destination, "handedBack");
  }
}

/**
 * How long the kernel takes to set a device down. For a macvtap it waits out two RCU grace periods: one in
 * `dev_deactivate_many`, which is quick under the rtnl lock anyway, and one in `macvlan_stop`, which takes 16 ms, or 0.06 ms
 * while `rcu_expedited` is set. That costs every CPU of the host an interrupt for each, and is the host's setting: so it is
 * set only for as long as the kernel works for us, and put back at once, by the next agent too after one that was killed
 * in between. Setting and putting it back takes 30 us, which is nothing to be had earlier for: no stop waits for more than
 * the quick kind before its guest is deregistered.
 */
import { closeSync, openSync, readFileSync, readSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { SwitchoverError } from "../../proto/error.ts";
import type { Log } from "../log.ts";

/** Shortens what waits for the kernel's grace periods. */
export interface GracePeriods {
  /** Does ahead what `shorten` needs once; never throws. */
  ready(): void;
  /** Works with short grace periods where the host lets it; what `work` returns or throws is passed on. */
  shorten<Result>(work: () => Result): Result;
  /** They are short, where the host lets it, until the last of those who hold them has called what this returns, once. */
  hold(): () => void;
  /** The host's setting stands, and is nobody's to put back any more. Idempotent. */
  close(): void;
}

export interface GracePeriodsParts {
  /** The kernel's switch, /sys/kernel/rcu_expedited. */
  readonly switchPath: string;
  /** There while an agent may have it set, for one that comes after; this agent's alone. */
  readonly memoPath: string;
  /** A reboot puts the switch back by itself. */
  readonly bootId: string;
  readonly log: Log;
}

/** Puts back at once what an agent before this one could not. */
export function openGracePeriods(parts: GracePeriodsParts): GracePeriods {
  return new ExpeditedGracePeriods(parts);
}

const EXPEDITED = "1";
const NORMAL = "0";

class ExpeditedGracePeriods implements GracePeriods {
  readonly #parts: GracePeriodsParts;
  readonly #setting = Buffer.alloc(8);
  /** Of the switch; null while it is not open, undefined where it cannot be. */
  #fd: number | null | undefined = null;
  #holders = 0;
  #setByUs = false;

  constructor(parts: GracePeriodsParts) {
    this.#parts = parts;
    this.#putBack();
  }

  ready(): void {
    if (this.#fd !== null) return;
    const { bootId, memoPath, switchPath } = this.#parts;
    try {
      // What the host has set itself is nobody's to put back.
      if (readFileSync(switchPath, "utf8").trim() === NORMAL) writeFileSync(memoPath, bootId);
      this.#fd = openSync(switchPath, "r+");
    } catch (thrown) {
      this.#fd = undefined;
      this.#complain(thrown);
    }
  }

  shorten<Result>(work: () => Result): Result {
    const release = this.hold();
    try {
      return work();
    } finally {
      release();
    }
  }

  hold(): () => void {
    this.ready();
    if (this.#holders === 0) this.#setByUs = this.#set(NORMAL, EXPEDITED);
    this.#holders += 1;
    return () => {
      this.#holders -= 1;
      if (this.#holders > 0 || !this.#setByUs) return;
      this.#setByUs = false;
      this.#set(EXPEDITED, NORMAL);
    };
  }

  close(): void {
    if (this.#setByUs) this.#set(EXPEDITED, NORMAL);
    this.#setByUs = false;
    if (typeof this.#fd === "number") closeSync(this.#fd);
    this.#fd = undefined;
    rmSync(this.#parts.memoPath, { force: true });
  }

  /** Whether the switch stood so, and stands otherwise now. A host that has it set itself keeps it so. */
  #set(from: string, to: string): boolean {
    const fd = this.#fd;
    if (typeof fd !== "number") return false;
    try {
      const length = readSync(fd, this.#setting, 0, this.#setting.length, 0);
      if (this.#setting.toString("latin1", 0, length).trim() !== from) return false;
      writeSync(fd, to, 0);
      return true;
    } catch (thrown) {
      this.#fd = undefined;
      this.#complain(thrown);
      return false;
    }
  }

  #putBack(): void {
    const { bootId, memoPath, switchPath } = this.#parts;
    try {
      if (readFileSync(memoPath, "utf8") === bootId) writeFileSync(switchPath, NORMAL);
    } catch {
      // No agent before this one was killed with the switch set.
    }
    rmSync(memoPath, { force: true });
  }

  /** Once, for the switch is not tried again: what it costs is time, each time, and nothing else. */
  #complain(thrown: unknown): void {
    const { message } = SwitchoverError.from(thrown);
    const { log, switchPath: path } = this.#parts;
    log.warn({ path }, `${path} cannot be set: a macvtap takes some 16 ms to go down. ${message}`);
  }
}

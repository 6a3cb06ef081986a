/**
 * How long the kernel takes to set a macvtap down: it waits for an RCU grace period, 16 ms, or 0.06 ms while
 * `rcu_expedited` is set. That costs every CPU of the host an interrupt a grace period, and is the host's setting: so it is
 * held only while somebody needs it, and put back as it was, also by the next agent after one that was killed.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { SwitchoverError } from "../../proto/error.ts";
import type { Log } from "../log.ts";

/** Hastens what waits for the kernel's grace periods. */
export interface GracePeriods {
  /** Short from now on, if the host lets it be, until the returned function is called; never throws. Counted. */
  hasten(): () => void;
}

export interface GracePeriodsParts {
  /** The kernel's switch, /sys/kernel/rcu_expedited. */
  readonly switchPath: string;
  /** Where the host's own setting is kept meanwhile, for an agent that comes after; this agent's alone. */
  readonly memoPath: string;
  /** A reboot puts the switch back by itself. */
  readonly bootId: string;
  readonly log: Log;
}

interface Memo {
  readonly bootId: string;
  readonly setting: string;
}

/** Puts back at once what an agent before this one could not. */
export function openGracePeriods(parts: GracePeriodsParts): GracePeriods {
  return new ExpeditedGracePeriods(parts);
}

class ExpeditedGracePeriods implements GracePeriods {
  readonly #parts: GracePeriodsParts;
  #holders = 0;
  #complaint: "none" | "made" = "none";

  constructor(parts: GracePeriodsParts) {
    this.#parts = parts;
    this.#restore();
  }

  hasten(): () => void {
    this.#holders += 1;
    if (this.#holders === 1) this.#expedite();
    let hold: "held" | "released" = "held";
    return () => {
      if (hold === "released") return;
      hold = "released";
      this.#holders -= 1;
      if (this.#holders === 0) this.#restore();
    };
  }

  #expedite(): void {
    const { bootId, memoPath, switchPath } = this.#parts;
    try {
      const setting = readFileSync(switchPath, "utf8").trim();
      if (setting !== "0") return;
      const memo: Memo = { bootId, setting };
      writeFileSync(memoPath, JSON.stringify(memo));
      writeFileSync(switchPath, "1");
    } catch (thrown) {
      this.#complain("cannot be set", thrown);
    }
  }

  #restore(): void {
    const { bootId, memoPath, switchPath } = this.#parts;
    const memo = this.#readMemo();
    if (memo === undefined) return;
    try {
      if (memo.bootId === bootId) writeFileSync(switchPath, memo.setting);
      rmSync(memoPath, { force: true });
    } catch (thrown) {
      this.#complain("could not be put back", thrown);
    }
  }

  /** Undefined where the switch is as its host has it. */
  #readMemo(): Memo | undefined {
    try {
      return JSON.parse(readFileSync(this.#parts.memoPath, "utf8")) as Memo;
    } catch {
      return undefined;
    }
  }

  /** Once: what it costs is time, each time, and nothing else. */
  #complain(what: string, thrown: unknown): void {
    if (this.#complaint === "made") return;
    this.#complaint = "made";
    const { message } = SwitchoverError.from(thrown);
    const { log, switchPath } = this.#parts;
    log.warn(
      { path: switchPath },
      `${switchPath} ${what}: taking a macvtap down takes some 16 ms. ${message}`,
    );
  }
}

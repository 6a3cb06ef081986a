import { SwitchoverError } from "../../proto/error.ts";
import type { Announced, HandOffRoute } from "../../proto/gen/switchover/v1/feed.ts";
import type { HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import type { AnnouncementRun } from "../announce/announcer.ts";
import type { Clock } from "../clock.ts";
import type { HandOffBus } from "../host-agent-ports.ts";
import type { JournalWord } from "../journal/journal-entry.ts";
import type { Log } from "../log.ts";
import type { VmmEvent } from "../vmm/vmm.ts";
import { Announcements } from "./announcements.ts";
import { evolve } from "./evolve.ts";
import { askOf, type GatedVmm, operateVmm, type VmmSpeaker } from "./gated-vmm.ts";
import type { Guest } from "./guest.ts";
import type { GuestEvent, GuestTimer } from "./guest-event.ts";
import { guestEventOfVmm } from "./guest-event-of-vmm.ts";
import type { BeforeOperation, GuestFeedEvent, GuestOperation } from "./guest-operation.ts";
import { logFieldsOf } from "./log-fields.ts";
import { alarm, type Step } from "./step.ts";
import { UnwrittenWords } from "./unwritten-words.ts";

/** More in one turn would be a loop: the rest waits for the next. */
const EVENTS_A_TURN = 256;
/** A full disk may have room again at any time. */
const WRITE_AGAIN_MS = 1_000;

const ONE_AT_A_TIME: ReadonlySet<GuestTimer> = new Set(["wordAgain", "readKeepAgain"]);

/** What the gate asks of a guest's devices; done when it returns. */
export interface GuestDevices {
  /** Of all devices these are left alone from now on, by `start`, `stop` and, but for their quarantine, `mend`. */
  withhold(nicIds: readonly string[]): void;
  start(): DevicesChange;
  stop(): DevicesChange;
  release(): DevicesRelease;
  /** Makes each NIC as `registered` says again; what is so is not touched. */
  mend(registered: Guest["registration"]): DevicesMending;
}

export type DevicesMending =
  | { readonly result: "mended" }
  | { readonly result: "missing" | "refused"; readonly sentence: string };

export type DevicesChange = { readonly ok: true } | { readonly ok: false; readonly sentence: string };

/** `parents`: of devices whose parents are seen to later; never rejects. */
export type DevicesRelease = DevicesChange & { readonly parents?: Promise<DevicesChange> };

/** Tells the feed what happened to a guest and when; never fails, never waits. */
export type PublishGuestEvent = (guest: Guest, event: GuestFeedEvent, atUnixUs: number) => void;

export interface GuestRunnerPorts {
  readonly vmm: GatedVmm;
  readonly devices: GuestDevices;
  readonly clock: Clock;
  readonly log: Log;
  readonly handOffs: HandOffBus;
  /** Writes before it returns; the disk gets it after. */
  readonly journal: (word: JournalWord) => void;
  readonly publish: PublishGuestEvent;
  /** Default: only the VMM announces the guest. */
  readonly beginAnnouncements?: (() => AnnouncementRun) | undefined;
  /** Called once its devices were released: the instance is done with. */
  readonly released: () => void;
  /** Default: `evolve`. */
  readonly rule?: typeof evolve | undefined;
  readonly beforeOperation?: BeforeOperation | undefined;
}

/**
 * Runs one instance's gate: tells `evolve` what happens and does what it answers, each turn to its end.
 *
 * Kernel and journal are worked within the turn, so between a STOP read from the socket and the kernel's
 * acknowledgement of the deregistration nothing else of this process runs. Events for the feed leave last.
 */
export class GuestRunner {
  readonly #ports: GuestRunnerPorts;
  readonly #queue: GuestEvent[] = [];
  readonly #watchers = new Set<() => void>();
  readonly #timers = new Set<() => void>();
  #guest: Guest;
  #turn: "idle" | "running" = "idle";
  #journal: "takes words" | "refuses" = "takes words";
  readonly #timersSet = new Set<GuestTimer>();
  #toPublish: Parameters<PublishGuestEvent>[] = [];
  readonly #unwritten: UnwrittenWords;
  readonly #announcements: Announcements;
  readonly #vmmSpeaker: VmmSpeaker;

  constructor(ports: GuestRunnerPorts, adopted: Step) {
    this.#ports = ports;
    this.#guest = adopted.guest;
    this.#unwritten = new UnwrittenWords(ports.journal);
    this.#announcements = new Announcements({
      clock: ports.clock,
      askVmm: () => this.#askVmmToAnnounce(),
      beginOwn: () => ports.beginAnnouncements?.() ?? null,
      tell: (announced) => this.#tellAnnounced(announced),
    });
    this.#vmmSpeaker = {
      hear: (what) => this.#hear(what),
      warn: (sentence, error) => this.#warn(sentence, error),
      setTimer: (delayMs, fire) => this.#setTimer(delayMs, fire),
    };
    this.#inTurn(() => {
      for (const operation of adopted.operations) this.#perform(operation);
    });
    this.#run();
  }

  get guest(): Guest {
    return this.#guest;
  }

  /** Whether the journal has all that happened; only a full disk makes it wait. */
  get isJournaled(): boolean {
    return this.#unwritten.isEmpty;
  }

  dispatch(event: GuestEvent): void {
    this.#queue.push(event);
    this.#run();
  }

  /** Takes a caller's order at once. Throws what kept it from being taken; nothing of it is believed or done then. */
  order(event: GuestEvent): void {
    const alreadySaid = this.#toPublish.length;
    const refused = this.#inTurn(() => this.#take(event));
    if (refused !== null) this.#toPublish.length = alreadySaid;
    this.#run();
    if (refused !== null) throw refused.fault;
  }

  hearVmm(heard: VmmEvent): void {
    const event = guestEventOfVmm(heard);
    if (event !== null) this.dispatch(event);
  }

  hearHandOff(handOff: HandOff, route: HandOffRoute): void {
    this.dispatch({ kind: "handOffReceived", atUnixUs: this.#ports.clock.unixUs(), handOff, route });
  }

  /** Resolves with the guest once `holds`; throws DEADLINE_EXCEEDED / STILL_WAITING, after which nothing is undone. */
  waitUntil(holds: (guest: Guest) => boolean, timeoutMs: number, awaited: string): Promise<Guest> {
    if (holds(this.#guest)) return Promise.resolve(this.#guest);
    return new Promise((resolve, reject) => {
      const cancel = this.#ports.clock.after(timeoutMs, () => {
        this.#watchers.delete(watch);
        reject(
          new SwitchoverError("DEADLINE_EXCEEDED", `After ${timeoutMs} ms still waiting for ${awaited}.`, {
            reason: "STILL_WAITING",
          }),
        );
      });
      const watch = () => {
        if (!holds(this.#guest)) return;
        this.#watchers.delete(watch);
        cancel();
        resolve(this.#guest);
      };
      this.#watchers.add(watch);
    });
  }

  /** Lets go of the VMM and of all timers; the guest and its registrations stay as they are. */
  close(): void {
    this.#announcements.end();
    for (const cancel of this.#timers) cancel();
    this.#timers.clear();
    this.#ports.vmm.close();
  }

  #run(): void {
    if (this.#turn === "running") return;
    this.#inTurn(() => {
      for (let count = 0; count < EVENTS_A_TURN; count++) {
        const event = this.#queue.shift();
        if (event === undefined) break;
        this.#takeAsFarAsJournaled(event);
      }
    });
    // Also of a guest that stays registered.
    if (this.#guest.cpus.kind === "stopped") this.#announcements.end();
    for (const said of this.#toPublish.splice(0)) this.#ports.publish(...said);
    for (const watch of [...this.#watchers]) watch();
    if (this.#queue.length > 0) setImmediate(() => this.#run());
  }

  /** What is heard meanwhile waits in the queue, also where the work throws. */
  #inTurn<Result>(work: () => Result): Result {
    this.#turn = "running";
    try {
      return work();
    } finally {
      this.#turn = "idle";
    }
  }

  /** What happened is believed, whatever the journal takes; what needs its word waits for it, as the step says. */
  #takeAsFarAsJournaled(event: GuestEvent): void {
    const refused = this.#take(event);
    if (refused === null) return;
    const { fault, unjournaled } = refused;
    this.#alarmOnce(fault);
    if (unjournaled === undefined) return;
    this.#guest = unjournaled.guest;
    for (const operation of unjournaled.operations) this.#perform(operation);
  }

  /** An operation that cannot be done ends the step, with the guest as it was: what could not be journaled is not said. */
  #take(
    event: GuestEvent,
  ): { readonly fault: SwitchoverError; readonly unjournaled: Step["unjournaled"] } | null {
    const before = this.#guest;
    const next = (this.#ports.rule ?? evolve)(before, event);
    this.#guest = next.guest;
    try {
      for (const operation of next.operations) this.#perform(operation);
      return null;
    } catch (thrown) {
      this.#guest = before;
      return { fault: SwitchoverError.from(thrown), unjournaled: next.unjournaled };
    }
  }

  /** Until the journal takes words again: a guest whose word is stuck runs nowhere. */
  #alarmOnce({ reason, message }: SwitchoverError): void {
    if (this.#journal === "refuses") return;
    this.#journal = "refuses";
    this.#perform(alarm(reason, `A step of the guest's gate could not be taken: ${message}`));
  }

  #perform(operation: GuestOperation): void {
    const { devices, handOffs, journal, vmm } = this.#ports;
    this.#ports.beforeOperation?.(this.#guest, operation);
    switch (operation.kind) {
      case "withholdNics":
        devices.withhold(operation.nicIds);
        break;
      case "registerNics": {
        const sentAtUnixUs = this.#ports.clock.unixUs();
        const change = devices.start();
        this.#hear(
          change.ok
            ? { kind: "nicsRegistered", sentAtUnixUs }
            : { kind: "nicsRegistrationRefused", sentence: change.sentence },
        );
        break;
      }
      case "deregisterNics": {
        this.#announcements.end();
        const change = devices.stop();
        this.#hear(
          change.ok
            ? { kind: "nicsDeregistered" }
            : { kind: "nicsDeregistrationRefused", sentence: change.sentence },
        );
        break;
      }
      case "mendNics": {
        const mending = devices.mend(operation.registered);
        this.#hear(
          mending.result === "mended"
            ? { kind: "nicsMended" }
            : { kind: "nicsMendingFailed", cause: mending.result, sentence: mending.sentence },
        );
        break;
      }
      case "journal":
        this.#unwritten.write();
        journal(operation.word);
        this.#journal = "takes words";
        break;
      case "journalWhenPossible":
        this.#unwritten.push(operation.word);
        this.#writeWhenPossible();
        break;
      case "publishHandOff":
        handOffs.publish(operation.handOff);
        break;
      case "sendCont":
      case "sendStop":
      case "readRunState":
      case "readTransferStatus":
      case "cancelTransfer":
      case "breakTransfer":
      case "quitVmm":
        operateVmm(vmm, operation, this.#vmmSpeaker);
        break;
      case "announce":
        this.#announcements.begin();
        break;
      case "setTimer":
        this.#setGuestTimer(operation);
        break;
      case "releaseDevices": {
        const sayIfNot = (change: DevicesChange) => {
          if (!change.ok) this.#ports.log.warn(logFieldsOf(this.#guest), change.sentence);
        };
        const release = devices.release();
        sayIfNot(release);
        void release.parents?.then(sayIfNot);
        this.#ports.released();
        break;
      }
      case "publish":
        this.#toPublish.push([this.#guest, operation.event, this.#ports.clock.unixUs()]);
        break;
    }
  }

  #writeWhenPossible(): void {
    try {
      this.#unwritten.write();
      for (const watch of [...this.#watchers]) watch();
    } catch (thrown) {
      this.#warn("A word waits for the journal", SwitchoverError.from(thrown));
      this.#setTimer(WRITE_AGAIN_MS, () => this.#writeWhenPossible());
    }
  }

  #askVmmToAnnounce(): void {
    const schedule = { rounds: 1, initialMs: 50, maxMs: 50, stepMs: 0 };
    askOf(this.#ports.vmm.announceSelf(schedule), "The VMM did not announce the guest", this.#vmmSpeaker);
  }

  #tellAnnounced(value: Announced): void {
    this.#toPublish.push([this.#guest, { $case: "announced", value }, this.#ports.clock.unixUs()]);
    this.#run();
  }

  /** What is asked for again from several sides is asked for once. */
  #setGuestTimer({ delayMs, timer }: Extract<GuestOperation, { readonly kind: "setTimer" }>): void {
    if (ONE_AT_A_TIME.has(timer)) {
      if (this.#timersSet.has(timer)) return;
      this.#timersSet.add(timer);
    }
    this.#setTimer(delayMs, () => {
      this.#timersSet.delete(timer);
      this.#hear({ kind: "timerFired", timer });
    });
  }

  #setTimer(delayMs: number, fire: () => void): void {
    const cancel = this.#ports.clock.after(delayMs, () => {
      this.#timers.delete(cancel);
      fire();
    });
    this.#timers.add(cancel);
  }

  #hear(what: WithoutTime<GuestEvent>): void {
    this.dispatch({ atUnixUs: this.#ports.clock.unixUs(), ...what } as GuestEvent);
  }

  #warn(sentence: string, error: SwitchoverError): void {
    this.#ports.log.warn(
      { ...logFieldsOf(this.#guest), reason: error.reason },
      `${sentence}: ${error.message}`,
    );
  }
}

type WithoutTime<Event> = Event extends unknown ? Omit<Event, "atUnixUs"> : never;

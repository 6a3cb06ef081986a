import type { JournalEntry } from "../../agent/journal/journal-entry.ts";
import { openHostClock } from "../../services/clock/host-clock.ts";
import { NatsLink } from "../../services/nats/connection.ts";
import { NatsHandOffBus } from "../../services/nats/hand-off-bus.ts";
import { Random } from "../simulation/engine/random.ts";
import type { Qemu } from "../simulation/model/qemu.ts";
import { FleetGuest, type GuestGround } from "./fleet-guest.ts";
import type { FleetAnswers, FleetQuestion, FleetReport, PreparedGuest } from "./fleet-message.ts";
import { LoopDelay } from "./loop-delay.ts";
import { PhaseLags } from "./phase-lags.ts";
import { type FleetGround, type FleetListener, PretendedHost } from "./pretended-host.ts";
import { wordsIn } from "./said-words.ts";
import { WallTimeline } from "./wall-timeline.ts";

const NATS_WITHIN_MS = 15_000;
const STARTED_AT_ONCE = 50;
const UNSENT_WITHIN_MS = 10_000;
const FIRST_PORT = 40_000;

export interface MemberOptions {
  readonly natsUrl: string;
  /** From 0; members of one fleet share no host and no guest. */
  readonly member: number;
  readonly hosts: number;
  /** Each host listens on an address of 127.0.0.0/8 of its own, on this port. */
  readonly port: number;
  readonly seed: number;
  readonly copyMs: readonly [least: number, most: number];
  readonly pagesMs: number;
}

/** The hosts of one process: the agents are real, all else of a host is pretended. They share one connection to NATS. */
export class FleetMember {
  readonly #options: MemberOptions;
  readonly #ground: FleetGround;
  readonly #guestGround: GuestGround;
  readonly #hosts: PretendedHost[] = [];
  readonly #guests = new Map<string, FleetGuest>();
  #booted = 0;
  #lags = new PhaseLags();
  #calls: Record<string, number> = {};
  #alarms: Record<string, number> = {};
  #violations: string[] = [];
  readonly #loopDelay = new LoopDelay();
  #cpuUsage = process.cpuUsage();

  private constructor(options: MemberOptions, link: NatsLink) {
    this.#options = options;
    const clock = openHostClock();
    const random = new Random(options.seed, options.member);
    const timeline = new WallTimeline(clock, random);
    const handOffs = new NatsHandOffBus(link, SILENT);
    const listener = this.#listener(() => clock.unixUs());
    this.#ground = { clock, timeline, random, link, handOffs, listener };
    const { copyMs, pagesMs } = options;
    const onViolation = listener.violated;
    this.#guestGround = { clock, timeline, random, ports: incomingPorts(), copyMs, pagesMs, onViolation };
  }

  /** Resolves once all hosts listen; their heartbeats begin one after the other. */
  static async start(options: MemberOptions): Promise<FleetMember> {
    const link = NatsLink.open({ url: options.natsUrl, name: `fleet ${options.member}`, log: SILENT });
    await link.whenReachable(NATS_WITHIN_MS);
    const member = new FleetMember(options, link);
    for (let first = 0; first < options.hosts; first += STARTED_AT_ONCE) {
      const count = Math.min(STARTED_AT_ONCE, options.hosts - first);
      const indices = Array.from({ length: count }, (_, index) => first + index);
      member.#hosts.push(...(await Promise.all(indices.map((index) => member.#startHost(index)))));
      // So that the heartbeats of thousands do not come in one instant, now and every 5 s.
      await new Promise((resolve) => setTimeout(resolve, (count * 4_000) / options.hosts));
    }
    return member;
  }

  answer(
    question: FleetQuestion,
  ): Promise<FleetAnswers[FleetQuestion["t"]]> | FleetAnswers[FleetQuestion["t"]] {
    switch (question.t) {
      case "prepare":
        return this.#prepare(question.guestIds);
      case "find":
        return question.guestIds.map((guestId) => {
          const { registered, runs } = this.#guestOf(guestId);
          return { guestId, runs, registered };
        });
      case "end":
        for (const guestId of question.guestIds) this.#end(guestId);
        return null;
      case "report":
        return this.#report();
      case "unsent":
        return this.#unsent();
    }
  }

  /** What the agents at both ends of the guest's migration have journaled of it. */
  journalsOf(guestId: string): Readonly<Record<"source" | "destination", readonly JournalEntry[]>> {
    const { destination, source } = this.#guestOf(guestId);
    return {
      source: source.host.simulated.disk.read(guestId),
      destination: destination.host.simulated.disk.read(guestId),
    };
  }

  async close(): Promise<void> {
    await Promise.all(this.#hosts.map((host) => host.close()));
    await this.#ground.link.close();
  }

  #startHost(index: number): Promise<PretendedHost> {
    const { member, port } = this.#options;
    const target = `127.${100 + member}.${index >> 8}.${index & 255}:${port}`;
    return PretendedHost.start(`h${member}-${index}`, target, this.#ground);
  }

  async #prepare(guestIds: readonly string[]): Promise<readonly PreparedGuest[]> {
    const prepared: PreparedGuest[] = [];
    for (let first = 0; first < guestIds.length; first += STARTED_AT_ONCE) {
      const some = guestIds.slice(first, first + STARTED_AT_ONCE);
      prepared.push(...(await Promise.all(some.map((guestId) => this.#boot(guestId)))));
    }
    return prepared;
  }

  /** Guests go from each even host to the next, and begin anew where there are more than hosts. */
  async #boot(guestId: string): Promise<PreparedGuest> {
    const number = this.#booted;
    this.#booted += 1;
    const source = this.#hosts[(2 * number) % this.#hosts.length];
    const destination = this.#hosts[(2 * number + 1) % this.#hosts.length];
    if (source === undefined || destination === undefined) throw new Error("There are no hosts.");
    // A byte of the MAC address is the member's.
    const unique = this.#options.member * 2 ** 16 + number;
    const guest = await FleetGuest.boot(guestId, unique, [source, destination], this.#guestGround);
    this.#guests.set(guestId, guest);
    return { guestId, sourceHostId: source.hostId, destinationHostId: destination.hostId };
  }

  #end(guestId: string): void {
    const guest = this.#guestOf(guestId);
    if (guest.wentBackwards !== null) this.#violations.push(guest.wentBackwards);
    guest.end();
    this.#guests.delete(guestId);
    this.#lags.forget(guestId);
  }

  #guestOf(guestId: string): FleetGuest {
    const guest = this.#guests.get(guestId);
    if (guest === undefined) throw new Error(`There is no guest ${guestId}.`);
    return guest;
  }

  #report(): FleetReport {
    const { phaseLagsMs, stepLagsMs } = this.#lags.take();
    const report = {
      phaseLagsMs,
      stepLagsMs,
      calls: this.#calls,
      alarms: this.#alarms,
      violations: this.#violations,
      loopDelaysMs: this.#loopDelay.take(),
      cpuS: this.#takeCpuSeconds(),
    };
    this.#calls = {};
    this.#alarms = {};
    this.#violations = [];
    return report;
  }

  #takeCpuSeconds(): number {
    const { user, system } = process.cpuUsage(this.#cpuUsage);
    this.#cpuUsage = process.cpuUsage();
    return (user + system) / 1e6;
  }

  async #unsent(): Promise<number> {
    const counts = await Promise.all(this.#hosts.map(({ agent }) => agent.feedDrained(UNSENT_WITHIN_MS)));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  #listener(nowUnixUs: () => number): FleetListener {
    const isAtSource = (instanceId: string) => instanceId.endsWith("-a");
    return {
      received: (command) => {
        this.#calls[command.name] = (this.#calls[command.name] ?? 0) + 1;
        this.#lags.received(command);
      },
      answered: (command, atUnixUs) => this.#lags.answered(command, atUnixUs),
      violated: (sentence) => void this.#violations.push(sentence),
      spooled: (text) => {
        const atUnixUs = nowUnixUs();
        for (const said of wordsIn(text, isAtSource)) this.#lags.said(said, atUnixUs);
      },
      alarmed: (reason) => {
        this.#alarms[reason] = (this.#alarms[reason] ?? 0) + 1;
      },
    };
  }
}

const SILENT = { debug() {}, info() {}, warn() {}, error() {} };

/** Where the QEMUs of one process listen for each other. */
function incomingPorts(): GuestGround["ports"] {
  const listening = new Map<number, Qemu>();
  let next = FIRST_PORT;
  return {
    listen: (qemu, wanted) => {
      const port = wanted === 0 ? next++ : wanted;
      listening.set(port, qemu);
      qemu.process.onDeath(() => {
        if (listening.get(port) === qemu) listening.delete(port);
      });
      return port;
    },
    find: (port) => listening.get(port),
  };
}

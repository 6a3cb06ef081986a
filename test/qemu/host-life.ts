import assert from "node:assert/strict";
import { openQemu } from "../../agent/vmm/qemu.ts";
import { readProcessLife } from "../../agent/vmm/vmm-process.ts";
import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { CpuState } from "../../proto/gen/switchover/v1/guest.ts";
import { Registration } from "../../proto/gen/switchover/v1/nic.ts";
import { type Bench, MAC, prepare, withAgent } from "../kernel/agent-bench.ts";
import { fdbOf } from "../kernel/host-state.ts";
import { run } from "../kernel/in-network-namespace.ts";
import { pollUntil } from "../lab/deadline.ts";
import { labClock } from "./qmp-bare-qemu.ts";
import { TinyGuest, TinyGuestFolder } from "./tiny-guest.ts";

const TAP = "web0";
const ENTRY = `${TAP} br0 static sticky`;
const OTHER_TAP = "other0";
const TIMEOUT_MS = 10_000;

export const RUNS = `${ENTRY}, REGISTERED, RUNNING running`;

/** What is to be seen of a guest that stands, by default with nothing registered. */
export function stands(runState: string, registration: "REGISTERED" | "QUARANTINED" = "QUARANTINED"): string {
  return `${registration === "REGISTERED" ? ENTRY : "no entry"}, ${registration}, STOPPED ${runState}`;
}

/** A guest's life on one host: real QEMU, real kernel, an agent between them, and an owner with a QMP socket. */
export class HostLife {
  readonly agent: Bench["agent"];
  readonly folder: TinyGuestFolder;
  readonly #elsewhere: TinyGuestFolder;
  readonly #told: readonly FeedEvent[];
  #heard = 0;

  private constructor({ agent, told }: Bench, folder: TinyGuestFolder, elsewhere: TinyGuestFolder) {
    this.#elsewhere = elsewhere;
    this.agent = agent;
    this.folder = folder;
    this.#told = told;
  }

  static with(
    body: (life: HostLife) => Promise<void>,
    staysRegisteredFor: readonly string[] = [],
  ): Promise<void> {
    return withAgent(
      async (bench) => {
        const folders = [await TinyGuestFolder.make(), await TinyGuestFolder.make()] as const;
        try {
          await body(new HostLife(bench, ...folders));
        } finally {
          for (const folder of folders) await folder.remove();
        }
      },
      () => ({
        staysRegisteredFor,
        processLife: readProcessLife,
        openVmm: (path, onEvent) =>
          openQemu({ path, onEvent, clock: labClock, connectTimeoutMs: TIMEOUT_MS }),
      }),
    );
  }

  /** As a control plane does it: devices, VMM, gate. Nothing runs yet. */
  async boot(
    instanceId: string,
    boot: "held" | "incoming",
    more: readonly string[] = [],
  ): Promise<TinyGuest> {
    await this.agent.prepareNics(prepare(instanceId));
    const guest = await TinyGuest.start(this.folder, { tap: TAP, mac: MAC, boot, more });
    await this.agent.adoptGuest({
      guestId: "web",
      instanceId,
      qmpPath: guest.agentQmpPath,
      externalCpuSource: undefined,
    });
    return guest;
  }

  /** A first boot through the gate, until the guest's program is up. */
  async run(more: readonly string[] = []): Promise<TinyGuest> {
    const guest = await this.boot("a1", "held", more);
    await this.start();
    await guest.isUp();
    assert.equal(await this.now(), RUNS);
    await this.toldUntil("cpusStarted");
    return guest;
  }

  /** A QEMU that listens for the guest in another host's stead, and its URI. */
  async listenElsewhere(): Promise<string> {
    run("ip", "link", "set", "lo", "up");
    run("ip", "tuntap", "add", "dev", OTHER_TAP, "mode", "tap");
    const other = await TinyGuest.start(this.#elsewhere, { tap: OTHER_TAP, mac: MAC, boot: "incoming" });
    await other.order("migrate-incoming", { uri: "tcp:127.0.0.1:0" });
    const answer = (await other.order("query-migrate")) as Listening;
    return `tcp:127.0.0.1:${answer["socket-address"][0]?.port}`;
  }

  async start(instanceId = ""): Promise<void> {
    await this.agent.startCpus({ guestId: "web", instanceId });
  }

  /** What the kernel, the agent's word for the registration, and GetGuest say at this moment. */
  async now(): Promise<string> {
    const word = await this.#agentsWord();
    return `${fdbOf(MAC) || "no entry"}, ${word}`;
  }

  async #agentsWord(): Promise<string> {
    const { instances } = await this.agent.getGuest({ guestId: "web" });
    const instance = instances.at(-1);
    assert.ok(instance);
    const { cpuState, registration, runState } = instance;
    return `${nameOf(Registration, registration)}, ${nameOf(CpuState, cpuState)} ${runState}`;
  }

  /** Waits for it. */
  async becomes(expected: string): Promise<void> {
    let last = "";
    const isSo = async () => {
      // A program is run to see the kernel's part, and the agent, in this very thread, does nothing meanwhile.
      last = await this.#agentsWord();
      if (!expected.endsWith(last)) return undefined;
      last = await this.now();
      return last === expected || undefined;
    };
    await pollUntil(isSo, TIMEOUT_MS, expected).catch(() => assert.equal(last, expected));
  }

  /** What the feed was told since this was last asked, up to and with `last`, which is waited for. */
  async toldUntil(last: string): Promise<readonly string[]> {
    const words = () => this.#told.slice(this.#heard).map(wordOf);
    await pollUntil(() => words().includes(last) || undefined, TIMEOUT_MS, last).catch(() =>
      assert.fail(`${last} is not among ${words().join(", ")}`),
    );
    const told = words().slice(0, words().lastIndexOf(last) + 1);
    this.#heard += told.length;
    return told.filter((word) => word !== "announced");
  }
}

interface Listening {
  readonly "socket-address": readonly { readonly port: string }[];
}

function wordOf({ event }: FeedEvent): string {
  switch (event?.$case) {
    case "stopExplained":
      return `${event.$case} ${event.value.runState} ${nameOf(Registration, event.value.registration)}`;
    case "vmmReported": {
      const { action, cause, device } = event.value;
      return [event.$case, event.value.event, cause, action, device].filter((word) => word !== "").join(" ");
    }
    case "alarmRaised":
      return `${event.$case} ${event.value.reason}`;
    default:
      return event?.$case ?? "";
  }
}

function nameOf(names: Readonly<Record<string, number>>, value: number): string {
  return Object.keys(names).find((name) => names[name] === value) ?? String(value);
}

import type { HostAgent } from "../../../agent/host-agent.ts";
import type { AgentsAnswer } from "./control-plane.ts";
import { GUEST_ID } from "./names.ts";
import { definitionOf } from "./nic-definitions.ts";
import { type NicKind, wiringOf } from "./schedule.ts";
import type { SimulatedInstance, SimulatedNic, World } from "./world.ts";

type AskAgent = (hostId: string, ask: (agent: HostAgent) => Promise<unknown>) => Promise<AgentsAnswer>;

/** The cloud's knowledge of which NICs the guest has, which its owner changes while it lives. */
export class NicPlugs {
  readonly #world: World;
  readonly #ask: AskAgent;
  #plugged = 0;
  /** Of NICs whose unplugging was asked for, and not refused for certain. */
  readonly #leaving = new Set<string>();

  constructor(world: World, ask: AskAgent) {
    this.#world = world;
    this.#ask = ask;
  }

  /** Those of its present instance, or of its first boot, on devices of their own. */
  nicsFor(owner: SimulatedInstance | null, devicePrefix: string): readonly SimulatedNic[] {
    const { guest, schedule } = this.#world;
    const first = wiringOf(schedule).map((kind, index) => ({
      nicId: `n${index}`,
      kind,
      macAddress: guest.macAddresses[index] ?? "",
      standing: "firm" as const,
    }));
    return (owner?.nics ?? first).map((nic, index) => ({ ...nic, deviceName: `${devicePrefix}-${index}` }));
  }

  /** As a QEMU has them that is started now: preparing them took its time. */
  asTheyStand(nics: readonly SimulatedNic[]): readonly SimulatedNic[] {
    return nics.map((nic) => (this.#leaving.has(nic.nicId) ? { ...nic, standing: "open" } : nic));
  }

  /** Plugs one in, or the last one out, and returns what the agent said; `standing` is what an answered change leaves of it. */
  async change(
    instance: SimulatedInstance,
    plugs: "out" | NicKind,
    standing: SimulatedNic["standing"],
  ): Promise<AgentsAnswer> {
    return plugs === "out" ? this.#plugOut(instance) : this.#plugIn(instance, plugs, standing);
  }

  async #plugIn(
    instance: SimulatedInstance,
    kind: NicKind,
    standing: SimulatedNic["standing"],
  ): Promise<AgentsAnswer> {
    const { breakage } = this.#world;
    const { host, instanceId } = instance;
    const number = ++this.#plugged;
    const nic: SimulatedNic = {
      nicId: `p${number}`,
      kind,
      deviceName: `p${number}-${instanceId}`,
      macAddress: `52:54:00:00:00:8${number}`,
      standing: "open",
    };
    have(instance, [...instance.nics, nic]);
    const answer = await this.#ask(host.hostId, (agent) =>
      agent.attachNic({
        guestId: GUEST_ID,
        instanceId,
        nic: definitionOf(nic, breakage.entries),
        validateOnly: false,
      }),
    );
    if (answer === "done") replace(instance, nic, [{ ...nic, standing }]);
    else if (answer.certain) replace(instance, nic, []);
    return answer;
  }

  /** A guest keeps one. */
  async #plugOut(instance: SimulatedInstance): Promise<AgentsAnswer> {
    const { host, instanceId, nics } = instance;
    const last = nics.at(-1);
    if (last === undefined || nics.length === 1) return "done";
    // Where another instance keeps it, the guest may come there without it.
    this.#leaving.add(last.nicId);
    for (const other of this.#world.instances) open(other, last.nicId);
    const answer = await this.#ask(host.hostId, (agent) =>
      agent.detachNic({ guestId: GUEST_ID, instanceId, nicId: last.nicId }),
    );
    if (answer === "done") replace(instance, last, []);
    else if (answer.certain) {
      this.#leaving.delete(last.nicId);
      replace(instance, last, [last]);
    }
    return answer;
  }
}

function open(instance: SimulatedInstance, nicId: string): void {
  have(
    instance,
    instance.nics.map((nic) => (nic.nicId === nicId ? { ...nic, standing: "open" } : nic)),
  );
}

function replace(instance: SimulatedInstance, { nicId }: SimulatedNic, by: readonly SimulatedNic[]): void {
  have(
    instance,
    instance.nics.flatMap((nic) => (nic.nicId === nicId ? by : [nic])),
  );
}

function have(instance: SimulatedInstance, nics: readonly SimulatedNic[]): void {
  instance.nics = nics;
  instance.read.kernel = null;
}

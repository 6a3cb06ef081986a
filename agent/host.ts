import type { Fence } from "../proto/epoch.ts";
import { SwitchoverError } from "../proto/error.ts";
import type { GuestId } from "../proto/ids.ts";
import { type HostSurvey, surveyHost, surveyHostAside } from "./device/host-survey.ts";
import type { NicDefinition } from "./device/nic-definition.ts";
import { AgentFeed } from "./feed/agent-feed.ts";
import type { Guest } from "./guest/guest.ts";
import type { GuestFeedEvent } from "./guest/guest-operation.ts";
import type { HostAgentPorts } from "./host-agent-ports.ts";
import { Instance } from "./instance/instance.ts";
import type { InstanceParts } from "./instance/instance-parts.ts";
import { InstanceTable } from "./instance/instance-table.ts";
import { type Journal, newestFenceIn } from "./journal/journal.ts";
import { Orphans } from "./orphan/orphans.ts";

/** What the calls of one agent share: its ports, its instances, their journals, and what it has said. */
export class Host {
  readonly ports: HostAgentPorts;
  readonly instances = new InstanceTable();
  readonly feed: AgentFeed;
  readonly orphans: Orphans;
  /** Guests whose journals could not be read when this agent began. */
  readonly unreadGuests = new Set<GuestId>();
  readonly #journals = new Map<GuestId, Journal>();

  constructor(ports: HostAgentPorts) {
    this.ports = ports;
    this.feed = new AgentFeed(ports);
    const { clock, devices, log } = ports;
    const { instances, unreadGuests } = this;
    const { route, tables } = devices;
    this.orphans = new Orphans({ route, tables, instances, unreadGuests, clock, log });
  }

  journalOf(guestId: GuestId): Journal {
    const known = this.#journals.get(guestId);
    if (known !== undefined) return known;
    const journal = this.ports.journals.open(guestId);
    this.#journals.set(guestId, journal);
    return journal;
  }

  /** The guest's journal if this host ever had one. */
  knownJournalOf(guestId: GuestId): Journal | undefined {
    return this.ports.journals.exists(guestId) ? this.journalOf(guestId) : undefined;
  }

  /** What preparing the NICs depends on. Throws as `surveyHostAside` does. */
  async surveyFor(nics: readonly NicDefinition[]): Promise<HostSurvey> {
    const { devices } = this.ports;
    const { tables } = devices;
    return tables === undefined ? surveyHost(devices, nics) : surveyHostAside(devices, tables, nics);
  }

  /** The newest fence that any instance of the guest has acted on here, also those that are gone. */
  newestFence(guestId: GuestId): Fence {
    return newestFenceIn(this.journalOf(guestId).entries);
  }

  /** To the feed and to followers, numbered, under the migration's name where the guest has one; not while it switches over. */
  publish(guest: Guest, event: GuestFeedEvent, atUnixUs: number): void {
    this.feed.publish(guest, event, atUnixUs);
  }

  /** Keeps an instance whose devices are quarantined, or were before this agent was away. */
  hold(parts: Pick<InstanceParts, "guestId" | "instanceId" | "devices">): Instance {
    const instance: Instance = new Instance({
      ports: this.ports,
      journal: this.journalOf(parts.guestId),
      publish: (...said) => this.publish(...said),
      wasTold: (...asked) => this.feed.wasTold(...asked),
      released: () => this.forget(instance),
      ...parts,
    });
    this.instances.add(instance);
    return instance;
  }

  /** Nothing more is heard of the instance, also after a restart; its journal stays. */
  forget(instance: Instance): void {
    instance.close();
    this.instances.remove(instance);
    try {
      instance.note({ kind: "forgotten" });
    } catch (thrown) {
      const { message, reason } = SwitchoverError.from(thrown);
      const fields = { guest_id: instance.guestId, instance_id: instance.instanceId, reason };
      this.ports.log.warn(fields, `After a restart the instance will be looked for again: ${message}`);
    }
  }

  close(): void {
    for (const instance of this.instances.all()) instance.close();
    this.feed.close();
    for (const journal of this.#journals.values()) journal.close();
  }
}

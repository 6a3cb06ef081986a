import type { HandOff } from "../proto/gen/switchover/v1/guest.ts";
import type { GuestId, HostId } from "../proto/ids.ts";
import type { GivenTrace } from "../proto/trace-context.ts";
import type { AgentMeter } from "./agent-meter.ts";
import type { Announcer } from "./announce/announcer.ts";
import type { Clock } from "./clock.ts";
import type { HostDevices } from "./device/nic-preparation.ts";
import type { FeedStream } from "./feed/feed-stream.ts";
import type { SpoolStore } from "./feed/spool-store.ts";
import type { evolve } from "./guest/evolve.ts";
import type { BeforeOperation } from "./guest/guest-operation.ts";
import type { JournalStore } from "./journal/journal.ts";
import type { Log } from "./log.ts";
import type { KernelChanges } from "./netlink/kernel-change.ts";
import type { TransferCertificates } from "./vmm/transfer-tls.ts";
import type { Vmm, VmmEvent } from "./vmm/vmm.ts";
import type { ProcessLife, VmmProcess } from "./vmm/vmm-process.ts";

/** How the source's word travels: plain NATS, one hop, at most once. Others bring it where this fails. */
export interface HandOffBus {
  /** Sends before it returns as far as the connection allows; never throws, never waits. */
  publish(handOff: HandOff): void;
  /** Calls `listener` for each word about the guest; the returned function ends that. */
  subscribe(guestId: GuestId, listener: (handOff: HandOff) => void): () => void;
}

/** Which trace each migration is in. */
export interface TracePort {
  /** What was given for it; undefined where its trace is the one that its id says. */
  givenFor(migrationId: string): GivenTrace | undefined;
  /** Takes what a predecessor said of it. */
  note(migrationId: string, trace: GivenTrace): void;
}

/** All that a HostAgent needs from outside. It opens and closes nothing that it was given. */
export interface HostAgentPorts {
  readonly hostId: HostId;
  readonly version: string;
  readonly kernelRelease: string;
  /** Another one after each boot of the host (random/boot_id). */
  readonly bootId: string;
  /** The address that QEMU's incoming side listens on. */
  readonly migrationAddress: string;
  /** What the migration stream is secured with; without it, it is plain. */
  readonly transferCertificates?: TransferCertificates;
  /** What this agent said before, and says from now on; its alone. */
  readonly journals: JournalStore;
  readonly clock: Clock;
  readonly log: Log;
  readonly handOffs: HandOffBus;
  /** What this agent has said and is not done with; its alone. */
  readonly spool: SpoolStore;
  readonly feed: FeedStream;
  /** Without it nobody counts. */
  readonly meter?: AgentMeter;
  /** Without it every migration is in the trace that its id says. */
  readonly traces?: TracePort;
  /** The kernel of this host: its netlink socket, its maker of tap devices and its reader of tables. */
  readonly devices: HostDevices;
  /** Announces guests whose CPUs have started with frames of the agent's own; without it only their VMMs do. */
  readonly announcer?: Announcer;
  /** What that kernel tells of its own accord; without it nobody sees what others do to the guests' devices. */
  readonly kernelChanges?: KernelChanges;
  /** Connects to a VMM's QMP socket and negotiates. Events go to `listener` as they are read from the socket. */
  readonly openVmm: (qmpPath: string, listener: (event: VmmEvent) => void) => Promise<Vmm>;
  /** Whether a VMM's process lives. Default: `unknown`, and a VMM is dead when nobody listens on its socket. */
  readonly processLife?: (process: VmmProcess) => ProcessLife;
  /** What has been an orphan for so long is removed; without it nothing is. */
  readonly removeOrphansAfterMs?: number;
  /** The pauses (QEMU's run states) for which a guest stays registered; without it none, as R2 says. */
  readonly staysRegisteredFor?: readonly string[];
  /** The rule that gates follow; default: `evolve`. For those who prove it by breaking it. */
  readonly rule?: typeof evolve;
  /** Called at each line of every gate, before the operation is carried out. For those who force an instant. */
  readonly beforeOperation?: BeforeOperation;
}

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { HostDevices } from "../../agent/device/nic-preparation.ts";
import { openSpoolDirectory } from "../../agent/feed/spool-directory.ts";
import { HostAgent } from "../../agent/host-agent.ts";
import type { HostAgentPorts } from "../../agent/host-agent-ports.ts";
import { openJournalDirectory } from "../../agent/journal/guest-journal.ts";
import type { Log } from "../../agent/log.ts";
import { openTableReader } from "../../agent/netlink/table-reader.ts";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { EntryMobility, MacTableManager, NicDefinition } from "../../proto/gen/switchover/v1/nic.ts";
import type { HostId } from "../../proto/ids.ts";
import { openHostClock } from "../../services/clock/host-clock.ts";
import { macOf, withHost } from "./guest-nics.ts";
import { inNetworkNamespace } from "./in-network-namespace.ts";
import { PretendedVmm } from "./pretended-vmm.ts";
import { addBridge } from "./tap-end.ts";

export const MAC = macOf(0);
export const SILENT_LOG: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

export interface Bench {
  readonly agent: HostAgent;
  readonly vmms: Map<string, PretendedVmm>;
  readonly told: FeedEvent[];
  readonly devices: HostDevices;
  /** The agent is gone. */
  end(): void;
  /** Another one on its state directory is here, and has every guest under its gate. */
  begin(): Promise<void>;
  /** The one, then the other. */
  restart(): Promise<void>;
}

/** An agent on a real kernel: a namespace with br0, whose guests' VMMs are pretended. */
export function withAgent(
  body: (bench: Bench) => Promise<void>,
  openPorts: (devices: HostDevices, stateDirectory: string) => Partial<HostAgentPorts> = () => ({}),
): Promise<void> {
  return inNetworkNamespace(() =>
    withHost(async ({ route, factory }) => {
      addBridge("br0");
      const stateDirectory = mkdtempSync(join(tmpdir(), "switchover-agent-"));
      const spoolDirectory = join(stateDirectory, "feed");
      mkdirSync(spoolDirectory);
      const tables = openTableReader();
      const devices: HostDevices = { route, factory, tables };
      const vmms = new Map<string, PretendedVmm>();
      const told: FeedEvent[] = [];
      const ports: HostAgentPorts = {
        hostId: "ha" as HostId,
        version: "0.0.0",
        kernelRelease: "test",
        bootId: "test",
        migrationAddress: "127.0.0.1",
        journals: openJournalDirectory(stateDirectory),
        clock: openHostClock(),
        log: SILENT_LOG,
        handOffs: { publish: () => {}, subscribe: () => () => {} },
        spool: openSpoolDirectory(spoolDirectory),
        feed: {
          last: async () => null,
          append: async ({ body }) => {
            told.push(FeedEvent.fromJSON(JSON.parse(body)));
            return { t: "stored", position: told.length };
          },
        },
        devices,
        openVmm: async (path, hear) => {
          const vmm = vmms.get(path);
          assert.ok(vmm, `no VMM at ${path}`);
          return vmm.open(hear);
        },
        ...openPorts(devices, stateDirectory),
      };
      let agent = new HostAgent(ports);
      const bench: Bench = {
        get agent() {
          return agent;
        },
        vmms,
        told,
        devices,
        end: () => agent.close(),
        async begin() {
          agent = new HostAgent({ ...ports, spool: openSpoolDirectory(spoolDirectory) });
          await agent.restored;
        },
        async restart() {
          bench.end();
          await bench.begin();
        },
      };
      // The agent's timers keep no process alive, and there is no server that does.
      const alive = setInterval(() => {}, 1_000);
      try {
        await body(bench);
      } finally {
        clearInterval(alive);
        agent.close();
        tables.close();
        rmSync(stateDirectory, { recursive: true });
      }
    }),
  );
}

export function nic(
  change: {
    readonly macAddress?: string;
    readonly deviceName?: string;
    readonly bridge?: string;
    readonly guestAddresses?: readonly string[];
  } = {},
) {
  return NicDefinition.fromPartial({
    nicId: "net0",
    macAddress: change.macAddress ?? MAC,
    guestAddresses: [...(change.guestAddresses ?? [])],
    device: {
      $case: "tapOnBridge",
      value: {
        deviceName: change.deviceName ?? "web0",
        bridge: change.bridge ?? "br0",
        macTableManager: MacTableManager.UNSPECIFIED,
        entryMobility: EntryMobility.UNSPECIFIED,
      },
    },
  });
}

export function prepare(instanceId: string, nics: NicDefinition[] = [nic()], guestId = "web") {
  return { guestId, instanceId, nics, validateOnly: false };
}

export async function adopted(
  { agent, vmms }: Bench,
  runState: "prelaunch" | "inmigrate" | "running",
): Promise<PretendedVmm> {
  const vmm = new PretendedVmm(runState);
  vmms.set("/run/a1", vmm);
  await agent.prepareNics(prepare("a1"));
  await agent.adoptGuest({
    guestId: "web",
    instanceId: "a1",
    qmpPath: "/run/a1",
    externalCpuSource: undefined,
  });
  return vmm;
}

import { join } from "node:path";
import { type MigrationSpec, MigrationMode as WireMode } from "../../../proto/gen/switchover/v1/migration.ts";
import type { MacAddress } from "../../../proto/mac-address.ts";
import { labLimits, type MigrationMode, type TransferLimits } from "../bare-migration.ts";
import { type GuestNic, type GuestQemu, type GuestRole, startGuestQemu } from "../guest.ts";
import type { GuestImage } from "../guest-image.ts";
import type { Lab } from "../lab.ts";
import { makeMacvtapFile } from "../macvtap-file.ts";
import type { LabHost } from "../topology.ts";
import type { ControlPlane } from "./control-plane.ts";
import type { LabNic, LabWiring } from "./wiring.ts";

/** A guest as its control plane knows it, wherever its QEMUs are. */
export interface GuestIdentity {
  readonly lab: Lab;
  readonly controlPlane: ControlPlane;
  readonly image: GuestImage;
  readonly guestId: string;
  readonly mac: MacAddress;
  /** With prefix length, in the peers' subnet. */
  readonly address: string;
  readonly wiring: LabWiring;
}

/** PrepareNics, QEMU, AdoptGuest: what a control plane does before a first boot or an incoming migration. */
export async function startInstance(
  guest: GuestIdentity,
  diskPath: string,
  hostName: string,
  role: GuestRole,
  number: number,
): Promise<GuestQemu> {
  const { address, controlPlane, guestId, image, lab, wiring } = guest;
  const host = lab.topology.host(hostName);
  const instance = `${guestId}-${hostName}-${number}`;
  const [withoutPrefix = ""] = address.split("/");
  const definitions = wiring.nics.map(({ definition }, index) =>
    index === 0 ? { ...definition, guestAddresses: [withoutPrefix] } : definition,
  );
  await controlPlane.prepareNics(hostName, guestId, instance, definitions);
  const qemu = await startGuestQemu({
    instance,
    role,
    host,
    hostCount: lab.topology.hosts.length,
    image,
    nics: await Promise.all(wiring.nics.map((nic) => openable(nic, host, join(lab.directory, instance)))),
    address,
    diskPath,
    directory: lab.directory,
  });
  await controlPlane.adoptGuest(hostName, guestId, instance, qemu.qmpAgentPath);
  return qemu;
}

async function openable(
  { backend, device, mac }: LabNic,
  host: LabHost,
  directory: string,
): Promise<GuestNic> {
  if (backend !== "macvtap") return { tap: device, mac };
  return { tap: device, mac, characterDevice: await makeMacvtapFile(host.namespace, device, directory) };
}

export interface LabTransfer extends Partial<TransferLimits> {
  readonly mode: MigrationMode;
  /** 0 or absent: no limit. A low one keeps pages flowing for long after the switch. */
  readonly maxPostCopyBandwidth?: number;
}

/** What the control plane asks a coordinator for. */
export function labMigration(
  guestId: string,
  source: GuestQemu,
  destination: GuestQemu,
  { mode, maxPostCopyBandwidth, ...limits }: LabTransfer,
): MigrationSpec {
  const { downtimeLimitMs, maxBandwidth, postCopyAfterMs } = { ...labLimits(source.nics.length), ...limits };
  return {
    guestId,
    sourceHostId: source.host,
    sourceInstanceId: source.instance,
    destinationHostId: destination.host,
    destinationInstanceId: destination.instance,
    mode: mode === "live" ? WireMode.LIVE : WireMode.POST_COPY,
    transfer: {
      maxBandwidthBytesPerSecond: BigInt(maxBandwidth),
      downtimeLimitMs,
      multifdChannels: 0,
      autoConverge: false,
      maxPostCopyBandwidthBytesPerSecond: BigInt(maxPostCopyBandwidth ?? 0),
    },
    postCopy: mode === "live" ? undefined : { trigger: { $case: "afterMs", value: postCopyAfterMs } },
    labels: {},
    priority: 0,
    deadline: undefined,
  };
}

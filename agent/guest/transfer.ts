import { SwitchoverError } from "../../proto/error.ts";
import type { TransferParameters } from "../../proto/gen/switchover/v1/migration.ts";
import { migrationUriOf } from "../vmm/migration-address.ts";
import type { MigrationCapabilitySetting, MigrationParameters } from "../vmm/migration-parameters.ts";
import type { TransferTls } from "../vmm/transfer-tls.ts";
import type { Vmm } from "../vmm/vmm.ts";
import type { MigrationMode } from "./guest.ts";

/**
 * What a VMM must be told before pages can flow. All of it is done while arming, none of it at switchover.
 *
 * Both sides get the same capabilities. Live mode leaves `postcopy-ram` and `return-path` off: with them on, the
 * source's `completed` comes after the destination's, and the word would arrive late. Without `tls` the VMM's own settings
 * of it stand, which are none unless its owner has made them.
 */
export async function configureTransfer(
  vmm: Vmm,
  mode: MigrationMode,
  transfer: TransferParameters | undefined,
  tls: TransferTls | undefined,
): Promise<void> {
  await vmm.setMigrationCapabilities(capabilitiesOf(mode, transfer));
  await vmm.setMigrationParameters(parametersOf(transfer));
  if (tls !== undefined) await vmm.secureTransfer(tls);
}

/**
 * Opens the incoming side on `migrationAddress` and returns the URI to reach it; asked again, returns the same.
 * `stop` comes first: in `inmigrate` it clears QEMU's autostart, so the guest cannot run before `cont`.
 * Throws FAILED_PRECONDITION / NOT_INCOMING where the VMM does not wait for a guest.
 */
export async function openIncoming(vmm: Vmm, migrationAddress: string): Promise<string> {
  await vmm.stop();
  await requireInmigrate(vmm);
  const already = await listeningUri(vmm);
  if (already !== undefined) return already;
  const host = migrationAddress.includes(":") ? `[${migrationAddress}]` : migrationAddress;
  await vmm.migrateIncoming(`tcp:${host}:0`);
  const opened = await listeningUri(vmm);
  if (opened === undefined) {
    throw new SwitchoverError("INTERNAL", "The VMM listens for a guest but does not say where.", {
      reason: "NO_INCOMING_ADDRESS",
    });
  }
  return opened;
}

/** Throws FAILED_PRECONDITION / NOT_INCOMING where the VMM does not wait for a guest. */
export async function requireInmigrate(vmm: Vmm): Promise<void> {
  const { runStateText } = await vmm.queryStatus();
  if (runStateText === "inmigrate") return;
  throw new SwitchoverError(
    "FAILED_PRECONDITION",
    `The VMM's run state is "${runStateText}"; an incoming guest needs "inmigrate" (QEMU -incoming defer).`,
    { reason: "NOT_INCOMING", metadata: { run_state: runStateText } },
  );
}

async function listeningUri(vmm: Vmm): Promise<string | undefined> {
  const [address] = (await vmm.queryMigrate()).addresses;
  return address === undefined ? undefined : migrationUriOf(address);
}

function capabilitiesOf(
  mode: MigrationMode,
  transfer: TransferParameters | undefined,
): readonly MigrationCapabilitySetting[] {
  return [
    { capability: "events", enabled: true },
    { capability: "postcopy-ram", enabled: mode === "postCopy" },
    { capability: "return-path", enabled: false },
    { capability: "multifd", enabled: (transfer?.multifdChannels ?? 0) > 0 },
    { capability: "auto-converge", enabled: transfer?.autoConverge ?? false },
  ];
}

function parametersOf(transfer: TransferParameters | undefined): MigrationParameters {
  if (transfer === undefined) return {};
  return {
    ...(transfer.maxBandwidthBytesPerSecond > 0n && {
      maxBandwidthBytesPerSecond: Number(transfer.maxBandwidthBytesPerSecond),
    }),
    ...(transfer.downtimeLimitMs > 0 && { downtimeLimitMs: transfer.downtimeLimitMs }),
    ...(transfer.multifdChannels > 0 && { multifdChannels: transfer.multifdChannels }),
    ...(transfer.maxPostCopyBandwidthBytesPerSecond > 0n && {
      maxPostcopyBandwidthBytesPerSecond: Number(transfer.maxPostCopyBandwidthBytesPerSecond),
    }),
  };
}

import { knownCapabilities, rpcCapability } from "../proto/agent-capabilities.ts";
import { SwitchoverError } from "../proto/error.ts";
import { MigrationMode, type MigrationSpec } from "../proto/gen/switchover/v1/migration.ts";
import type { HostRecord } from "../proto/gen/switchover/v1/record.ts";
import type { Side } from "./migration/complete-state.ts";

/** The calls that a migration may come to need of each host, whatever happens to it. */
const CALLS: Readonly<Record<Side, readonly string[]>> = {
  source: [
    ...["Preflight", "FollowGuest", "ArmSource", "BeginTransfer", "GetHandOff", "CancelTransfer"],
    ...["ResumeSource", "ReleaseSource"],
  ],
  destination: [
    ...["Preflight", "FollowGuest", "PrepareDestination", "DeliverHandOff", "HandBack", "AbortDestination"],
  ],
};

const CALLS_IN_POST_COPY: Readonly<Record<Side, readonly string[]>> = {
  source: ["SwitchToPostCopy", "PauseMigration", "RecoverMigration"],
  destination: ["RecoverMigration"],
};

/**
 * FAILED_PRECONDITION / CAPABILITY_MISSING, on `field`, where the agent of that side does not know all that the migration
 * may need of it: that is found out now, and not when it is needed.
 */
export function checkCapabilities(spec: MigrationSpec, side: Side, host: HostRecord, field: string): void {
  const { hostId, version, capabilities } = host;
  const known = knownCapabilities(capabilities);
  const calls = [...CALLS[side], ...(spec.mode === MigrationMode.POST_COPY ? CALLS_IN_POST_COPY[side] : [])];
  const missing = calls.map(rpcCapability).filter((capability) => !known.includes(capability));
  if (missing.length === 0) return;
  const sentence = `The agent of host ${hostId} (version ${version}) does not know ${missing.join(", ")}.`;
  throw new SwitchoverError("FAILED_PRECONDITION", sentence, {
    reason: "CAPABILITY_MISSING",
    field,
    metadata: { host_id: hostId, version, capabilities: missing.join(",") },
  });
}

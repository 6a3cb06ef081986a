/**
 * What an agent knows, as it says in its HostRecord, so that it is never sent what it does not know: an unknown call would
 * be refused in the middle of a migration, and an unknown field passed over without a word.
 *
 *   rpc/ArmSource     a call of HostAgentService
 *   device/macvtap    a kind of NIC that it can wire
 */
export function rpcCapability(method: string): string {
  return `rpc/${method}`;
}

export function deviceCapability(field: string): string {
  return `device/${field}`;
}

/** Of agents that publish no list, for they are older: what all agents knew when the lists began. Never added to. */
const CAPABILITIES_BEFORE_LISTS: readonly string[] = [
  ...["AbortDestination", "AdoptGuest", "ArmSource", "AttachNic", "BeginTransfer", "CancelTransfer"],
  ...["DeliverHandOff", "Describe", "DetachNic", "FollowGuest", "GetGuest", "GetHandOff", "HandBack"],
  ...["ListOrphans", "PauseMigration", "Preflight", "PrepareDestination", "PrepareNics"],
  ...["RecoverMigration", "ReleaseSource", "RemoveOrphans", "ReportCpuState", "ResumeSource"],
  ...["StartCpus", "StopCpus", "SwitchToPostCopy"],
].map(rpcCapability);

/** What the agent knows, by its HostRecord's list. */
export function knownCapabilities(published: readonly string[]): readonly string[] {
  return published.length === 0 ? CAPABILITIES_BEFORE_LISTS : published;
}

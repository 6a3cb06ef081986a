import { SwitchoverError } from "../../proto/error.ts";
import type { Guest } from "../guest/guest.ts";

/** Throws FAILED_PRECONDITION / VMM_LOST for an instance whose VMM is known to be gone: asking again would not help. */
export function requireVmm(guest: Guest): void {
  if (guest.vmm !== "lost") return;
  throw new SwitchoverError(
    "FAILED_PRECONDITION",
    `The VMM of instance ${guest.instanceId} is gone, and the CPUs with it.`,
    { reason: "VMM_LOST", field: "instance_id" },
  );
}

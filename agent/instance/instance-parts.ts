import type { GuestId, InstanceId } from "../../proto/ids.ts";
import type { PublishGuestEvent } from "../guest/guest-runner.ts";
import type { WasTold } from "../guest/tell-again.ts";
import type { HostAgentPorts } from "../host-agent-ports.ts";
import type { Journal } from "../journal/journal.ts";
import type { PreparedDevices } from "./prepared-devices.ts";

/** What an instance is made of, and whom it tells. */
export interface InstanceParts {
  readonly ports: HostAgentPorts;
  readonly guestId: GuestId;
  readonly instanceId: InstanceId;
  readonly devices: PreparedDevices;
  readonly journal: Journal;
  readonly publish: PublishGuestEvent;
  readonly wasTold: WasTold;
  readonly released: () => void;
}

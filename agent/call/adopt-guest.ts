import { invalidArgument, SwitchoverError } from "../../proto/error.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  AdoptGuestRequest,
  AdoptGuestResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { parseGuestId } from "../../proto/ids.ts";
import type { Host } from "../host.ts";

/** sockaddr_un's path, less its final zero (unix(7)). */
const SOCKET_PATH_BYTES = 107;

export async function adoptGuest(host: Host, request: AdoptGuestRequest): Promise<AdoptGuestResponse> {
  const guestId = parseGuestId(request.guestId, "guest_id");
  const qmpPath = parseSocketPath(request.qmpPath);
  const instance = host.instances.resolve(
    guestId,
    request.instanceId,
    (candidate) => candidate.adopted === null,
  );
  if (instance.adopted !== null) {
    if (instance.adopted.qmpPath === qmpPath && !instance.isAbandoned()) {
      return { applied: Applied.ALREADY_SO, instance: instance.message() };
    }
    throw new SwitchoverError(
      "ALREADY_EXISTS",
      `Instance ${instance.instanceId} is already bound to ${instance.adopted.qmpPath}.`,
      { reason: "ALREADY_ADOPTED", field: "qmp_path" },
    );
  }
  if (instance.state === "restoring") instance.requireAdopted();
  await instance.adopt(qmpPath, host.newestFence(guestId));
  return { applied: Applied.CHANGED, instance: instance.message() };
}

function parseSocketPath(path: string): string {
  if (!path.startsWith("/") || path.includes("\0") || Buffer.byteLength(path) > SOCKET_PATH_BYTES) {
    throw invalidArgument(
      "qmp_path",
      `The QMP socket must be an absolute path of at most ${SOCKET_PATH_BYTES} bytes.`,
    );
  }
  return path;
}

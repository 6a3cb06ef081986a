import { invalidArgument, SwitchoverError } from "../../proto/error.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  AdoptGuestRequest,
  AdoptGuestResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { parseGuestId } from "../../proto/ids.ts";
import type { Host } from "../host.ts";
import type { CpuSource } from "../instance/cpu-source.ts";
import { type ExternalSource, parseExternalSource } from "./parse-vmm-told.ts";

/** sockaddr_un's path, less its final zero (unix(7)). */
const SOCKET_PATH_BYTES = 107;

export async function adoptGuest(host: Host, request: AdoptGuestRequest): Promise<AdoptGuestResponse> {
  const guestId = parseGuestId(request.guestId, "guest_id");
  const source = parseSource(request);
  const instance = host.instances.resolve(
    guestId,
    request.instanceId,
    (candidate) => candidate.adopted === null,
  );
  if (instance.adopted !== null) {
    if (isSame(instance.adopted.source, source) && !instance.isAbandoned()) {
      return { applied: Applied.ALREADY_SO, instance: instance.message() };
    }
    throw alreadyAdopted(instance.instanceId, instance.adopted.source, source);
  }
  if (instance.state === "restoring") instance.requireAdopted();
  const newest = host.newestFence(guestId);
  if (source.kind === "qmp") await instance.adopt(source.qmpPath, newest).catch(namingTheSocket);
  else instance.adoptExternal(source, newest);
  return { applied: Applied.CHANGED, instance: instance.message() };
}

type WantedSource = Extract<CpuSource, { readonly kind: "qmp" }> | ExternalSource;

function parseSource({ qmpPath, externalCpuSource }: AdoptGuestRequest): WantedSource {
  if (externalCpuSource === undefined) return { kind: "qmp", qmpPath: parseSocketPath(qmpPath) };
  if (qmpPath === "") return parseExternalSource(externalCpuSource);
  throw invalidArgument(
    "external_cpu_source",
    "Either the agent drives the VMM by its QMP socket, or its owner does: name one.",
    "TWO_CPU_SOURCES",
  );
}

/** How an external one stands is told by reports once it is adopted. */
function isSame(adopted: CpuSource, wanted: WantedSource): boolean {
  if (adopted.kind === "external") return wanted.kind === "external";
  return wanted.kind === "qmp" && wanted.qmpPath === adopted.qmpPath;
}

function alreadyAdopted(instanceId: string, adopted: CpuSource, wanted: WantedSource): SwitchoverError {
  const to = adopted.kind === "qmp" ? adopted.qmpPath : "an external CPU source";
  return new SwitchoverError("ALREADY_EXISTS", `Instance ${instanceId} is already bound to ${to}.`, {
    reason: "ALREADY_ADOPTED",
    field: wanted.kind === "qmp" ? "qmp_path" : "external_cpu_source",
  });
}

/** Rethrows; what the socket is at fault for names its field. */
function namingTheSocket(thrown: unknown): never {
  const { code, message, metadata, reason } = SwitchoverError.from(thrown);
  if (code !== "UNAVAILABLE") throw thrown;
  throw new SwitchoverError(code, message, { reason, field: "qmp_path", metadata, cause: thrown });
}

function parseSocketPath(path: string): string {
  if (path === "") {
    throw invalidArgument("qmp_path", "A QMP socket, or an external CPU source, is required.", "REQUIRED");
  }
  if (!path.startsWith("/") || path.includes("\0") || Buffer.byteLength(path) > SOCKET_PATH_BYTES) {
    throw invalidArgument(
      "qmp_path",
      `The QMP socket must be an absolute path of at most ${SOCKET_PATH_BYTES} bytes.`,
    );
  }
  return path;
}

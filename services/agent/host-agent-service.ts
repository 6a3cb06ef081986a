import type { HostAgent } from "../../agent/host-agent.ts";
import {
  type HostAgentServiceServer,
  HostAgentServiceService,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import type { ServiceBinding } from "../grpc/server.ts";
import { serveServerStream } from "../grpc/server-stream.ts";
import { serveUnary } from "../grpc/unary.ts";
import type { Log } from "../log/log.ts";
import type { Tally } from "../metrics/metrics.ts";

export const HOST_AGENT_SERVICE = "switchover.v1.HostAgentService";

/** A StartCpus may wait 30 s for its guest, and holds up none of the host's other guests. */
const LIMITS = { running: 1_024, waiting: 1_024, streams: 10_000 };

/**
 * HostAgentService on the wire. Open FollowGuest streams end when `ending` aborts. `refusals` counts what preflights find,
 * by reason.
 */
export function bindHostAgent(
  agent: HostAgent,
  log: Log,
  ending: AbortSignal,
  refusals: Tally = { count() {} },
): ServiceBinding {
  const implementation: HostAgentServiceServer = {
    describe: serveUnary("Describe", log, (request) => agent.describe(request)),
    prepareNics: serveUnary("PrepareNics", log, (request, { signal }) => agent.prepareNics(request, signal)),
    attachNic: serveUnary("AttachNic", log, (request, { signal }) => agent.attachNic(request, signal)),
    detachNic: serveUnary("DetachNic", log, (request, { signal }) => agent.detachNic(request, signal)),
    adoptGuest: serveUnary("AdoptGuest", log, (request, { signal }) => agent.adoptGuest(request, signal)),
    readClock: serveUnary("ReadClock", log, (request) => agent.readClock(request)),
    preflight: serveUnary("Preflight", log, async (request) => {
      const answer = await agent.preflight(request);
      for (const { reason } of answer.refusals) refusals.count(reason);
      return answer;
    }),
    prepareDestination: serveUnary("PrepareDestination", log, (request, { signal }) =>
      agent.prepareDestination(request, signal),
    ),
    armSource: serveUnary("ArmSource", log, (request, { signal }) => agent.armSource(request, signal)),
    beginTransfer: serveUnary("BeginTransfer", log, (request, { signal }) =>
      agent.beginTransfer(request, signal),
    ),
    switchToPostCopy: serveUnary("SwitchToPostCopy", log, (request, { signal }) =>
      agent.switchToPostCopy(request, signal),
    ),
    followGuest: serveServerStream("FollowGuest", log, ending, (request, context) =>
      agent.followGuest(request, context.signal),
    ),
    getHandOff: serveUnary("GetHandOff", log, (request) => agent.getHandOff(request)),
    deliverHandOff: serveUnary("DeliverHandOff", log, (request) => agent.deliverHandOff(request)),
    releaseSource: serveUnary("ReleaseSource", log, (request, { signal }) =>
      agent.releaseSource(request, signal),
    ),
    cancelTransfer: serveUnary("CancelTransfer", log, (request, { signal }) =>
      agent.cancelTransfer(request, signal),
    ),
    abortDestination: serveUnary("AbortDestination", log, (request, { signal }) =>
      agent.abortDestination(request, signal),
    ),
    handBack: serveUnary("HandBack", log, (request, { signal }) => agent.handBack(request, signal)),
    resumeSource: serveUnary("ResumeSource", log, (request, { signal }) =>
      agent.resumeSource(request, signal),
    ),
    pauseMigration: serveUnary("PauseMigration", log, (request, { signal }) =>
      agent.pauseMigration(request, signal),
    ),
    recoverMigration: serveUnary("RecoverMigration", log, (request, { signal }) =>
      agent.recoverMigration(request, signal),
    ),
    listOrphans: serveUnary("ListOrphans", log, (request) => agent.listOrphans(request)),
    removeOrphans: serveUnary("RemoveOrphans", log, (request) => agent.removeOrphans(request)),
    startCpus: serveUnary("StartCpus", log, (request, { signal }) => agent.startCpus(request, signal)),
    stopCpus: serveUnary("StopCpus", log, (request, { signal }) => agent.stopCpus(request, signal)),
    reportCpuState: serveUnary("ReportCpuState", log, (request) => agent.reportCpuState(request)),
    getGuest: serveUnary("GetGuest", log, (request) => agent.getGuest(request)),
  };
  return { name: HOST_AGENT_SERVICE, definition: HostAgentServiceService, implementation, limits: LIMITS };
}

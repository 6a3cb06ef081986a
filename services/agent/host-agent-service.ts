import type { HostAgent } from "../../agent/host-agent.ts";
import {
  type HostAgentServiceServer,
  HostAgentServiceService,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import type { ServiceBinding } from "../grpc/server.ts";
import { serveServerStream } from "../grpc/server-stream.ts";
import { serveUnary } from "../grpc/unary.ts";
import type { Log } from "../log/log.ts";

export const HOST_AGENT_SERVICE = "switchover.v1.HostAgentService";

/** HostAgentService on the wire. Open FollowGuest streams end when `ending` aborts. */
export function bindHostAgent(agent: HostAgent, log: Log, ending: AbortSignal): ServiceBinding {
  const implementation: HostAgentServiceServer = {
    describe: serveUnary("Describe", log, (request) => agent.describe(request)),
    prepareNics: serveUnary("PrepareNics", log, (request) => agent.prepareNics(request)),
    attachNic: serveUnary("AttachNic", log, (request) => agent.attachNic(request)),
    detachNic: serveUnary("DetachNic", log, (request) => agent.detachNic(request)),
    adoptGuest: serveUnary("AdoptGuest", log, (request) => agent.adoptGuest(request)),
    preflight: serveUnary("Preflight", log, (request) => agent.preflight(request)),
    prepareDestination: serveUnary("PrepareDestination", log, (request) => agent.prepareDestination(request)),
    armSource: serveUnary("ArmSource", log, (request) => agent.armSource(request)),
    beginTransfer: serveUnary("BeginTransfer", log, (request) => agent.beginTransfer(request)),
    switchToPostCopy: serveUnary("SwitchToPostCopy", log, (request) => agent.switchToPostCopy(request)),
    followGuest: serveServerStream("FollowGuest", log, ending, (request, context) =>
      agent.followGuest(request, context.signal),
    ),
    getHandOff: serveUnary("GetHandOff", log, (request) => agent.getHandOff(request)),
    deliverHandOff: serveUnary("DeliverHandOff", log, (request) => agent.deliverHandOff(request)),
    releaseSource: serveUnary("ReleaseSource", log, (request) => agent.releaseSource(request)),
    cancelTransfer: serveUnary("CancelTransfer", log, (request) => agent.cancelTransfer(request)),
    abortDestination: serveUnary("AbortDestination", log, (request) => agent.abortDestination(request)),
    handBack: serveUnary("HandBack", log, (request) => agent.handBack(request)),
    resumeSource: serveUnary("ResumeSource", log, (request) => agent.resumeSource(request)),
    pauseMigration: serveUnary("PauseMigration", log, (request) => agent.pauseMigration(request)),
    recoverMigration: serveUnary("RecoverMigration", log, (request) => agent.recoverMigration(request)),
    listOrphans: serveUnary("ListOrphans", log, (request) => agent.listOrphans(request)),
    removeOrphans: serveUnary("RemoveOrphans", log, (request) => agent.removeOrphans(request)),
    startCpus: serveUnary("StartCpus", log, (request) => agent.startCpus(request)),
    stopCpus: serveUnary("StopCpus", log, (request) => agent.stopCpus(request)),
    reportCpuState: serveUnary("ReportCpuState", log, (request) => agent.reportCpuState(request)),
    getGuest: serveUnary("GetGuest", log, (request) => agent.getGuest(request)),
  };
  return { name: HOST_AGENT_SERVICE, definition: HostAgentServiceService, implementation };
}

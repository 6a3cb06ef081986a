import type { ServerUnaryCall, sendUnaryData, UntypedServiceImplementation } from "@grpc/grpc-js";
import { compareFences, FENCE_ZERO, type Fence } from "../../proto/epoch.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import { HostAgentServiceService } from "../../proto/gen/switchover/v1/host_agent_service.ts";

/** What a host's agent was asked, and when. Microseconds, Unix. */
export interface ReceivedCommand {
  readonly name: string;
  readonly hostId: string;
  readonly guestId: string;
  readonly atUnixUs: number;
}

export interface CommandListener {
  received(command: ReceivedCommand): void;
  /** The same command, as the agent has carried it out. */
  answered(command: ReceivedCommand, atUnixUs: number): void;
  /** The agent did something that it must refuse, in words. */
  violated(sentence: string): void;
}

interface FencedRequest {
  readonly guestId?: string;
  readonly instanceId?: string;
  readonly fence?: Fence | undefined;
}

type Handler = (call: ServerUnaryCall<FencedRequest, unknown>, callback: sendUnaryData<unknown>) => void;

/**
 * The same service with a witness before it, who sees each unary call in the turn of the event loop in which it is read
 * from the socket, and whether a call that changed something was of an older fence than one acted on before (I6).
 */
export function witnessed(
  hostId: string,
  service: UntypedServiceImplementation,
  nowUnixUs: () => number,
  listener: CommandListener,
): UntypedServiceImplementation {
  const newest = new Map<string, Fence>();
  const watch = (name: string, handle: Handler): Handler => {
    return (call, callback) => {
      const { fence, guestId = "", instanceId = "" } = call.request;
      const key = `${guestId} ${instanceId}`;
      const before = newest.get(key) ?? FENCE_ZERO;
      const command = { name, hostId, guestId, atUnixUs: nowUnixUs() };
      listener.received(command);
      handle(call, (error, response, ...rest) => {
        if (error === null || error === undefined) {
          listener.answered(command, nowUnixUs());
          if (fence !== undefined && changed(response)) {
            if (compareFences(fence, before) < 0) listener.violated(actedOnOlder(command, fence, before));
            if (compareFences(fence, newest.get(key) ?? FENCE_ZERO) > 0) newest.set(key, fence);
          }
        }
        callback(error, response, ...rest);
      });
    };
  };
  return Object.fromEntries(
    Object.entries(service).map(([name, handler]) => {
      const { responseStream } = HostAgentServiceService[name as keyof typeof HostAgentServiceService];
      return [name, responseStream ? handler : watch(name, handler as Handler)];
    }),
  );
}

function changed(response: unknown): boolean {
  return (response as { readonly applied?: Applied } | null)?.applied === Applied.CHANGED;
}

function actedOnOlder({ guestId, hostId, name }: ReceivedCommand, fence: Fence, before: Fence): string {
  const text = ({ epoch, revision }: Fence) => `${epoch}.${revision}`;
  return `I6: ${hostId} acted on ${name} of ${guestId} under ${text(fence)} after ${text(before)}.`;
}

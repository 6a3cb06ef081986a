import type { AgentPort } from "../../../coordinator/runner/agent-port.ts";
import {
  type BrokenRule,
  handBackWhatRan,
  keepEntriesAtSource,
  publishBeforeJournal,
  startPausedGuests,
  startUnready,
  startWithoutWord,
  takeAnyWord,
  watchOnly,
} from "./break-gate.ts";
import { type Breakage, type SeenFence, UNBROKEN } from "./breakage.ts";

/** The rules that can be broken, to show that the simulation finds it. */
export const BREAK_RULES = [
  "epoch-check",
  "revision-check",
  "hand-off-wait",
  "ready-check",
  "journal-before-word",
  "hand-back-after-cont",
  "cancel-order",
  "paused-guest",
  "guard",
  "replace",
  "sticky",
  "source-deregister",
] as const;
export type BreakRule = (typeof BREAK_RULES)[number];

/** Everything is broken from outside: by what is put around the real code, never in it. */
export function breakageOf(rule: BreakRule | undefined): Breakage {
  switch (rule) {
    case undefined:
      return UNBROKEN;
    case "epoch-check":
      return {
        ...withRule(takeAnyWord),
        request: (request, newest) => withNewest(request, newest, (fence, seen) => fence.epoch < seen.epoch),
      };
    case "revision-check":
      return {
        ...UNBROKEN,
        request: (request, newest) =>
          withNewest(
            request,
            newest,
            (fence, seen) => fence.epoch === seen.epoch && fence.revision < seen.revision,
          ),
      };
    case "hand-off-wait":
      return withRule(startWithoutWord);
    case "ready-check":
      return withRule(startUnready);
    case "journal-before-word":
      return withRule(publishBeforeJournal);
    case "hand-back-after-cont":
      return withRule(handBackWhatRan);
    case "cancel-order":
      return { ...UNBROKEN, agentPort: abortFirst };
    case "paused-guest":
      return withRule(startPausedGuests);
    case "guard":
      return withRule(watchOnly);
    case "replace":
      return { ...UNBROKEN, registration: "exclusive" };
    case "sticky":
      return { ...UNBROKEN, entries: "plain" };
    case "source-deregister":
      return withRule(keepEntriesAtSource);
  }
}

function withRule(rule: BrokenRule): Breakage {
  return { ...UNBROKEN, agentPorts: (ports) => ({ ...ports, rule }) };
}

/** Lets a command that was overtaken pass for a new one. */
function withNewest(
  request: unknown,
  newest: SeenFence | undefined,
  isOverlooked: (fence: SeenFence, newest: SeenFence) => boolean,
): unknown {
  const { fence } = request as { readonly fence?: SeenFence };
  if (fence === undefined || newest === undefined || !isOverlooked(fence, newest)) return request;
  return { ...(request as object), fence: newest };
}

/** A cancel ends the destination first, and asks the source after. */
function abortFirst(port: AgentPort): AgentPort {
  const destinations = new Map<string, Parameters<AgentPort["prepareDestination"]>>();
  return {
    ...port,
    prepareDestination: (...asked) => {
      destinations.set(asked[1].migrationId, asked);
      return port.prepareDestination(...asked);
    },
    cancelTransfer: async (hostId, request, call) => {
      const [destinationHostId, prepared] = destinations.get(request.migrationId) ?? [];
      if (destinationHostId !== undefined && prepared !== undefined) {
        const { guestId, instanceId, migrationId } = prepared;
        await port
          .abortDestination(
            destinationHostId,
            { fence: request.fence, guestId, instanceId, migrationId },
            call,
          )
          .catch(() => {});
      }
      return port.cancelTransfer(hostId, request, call);
    },
  };
}

import type { AgentCensus } from "./agent-meter.ts";
import type { Guest } from "./guest/guest.ts";
import type { Host } from "./host.ts";

/** The host's own view of itself. */
export function takeCensus({ instances, feed }: Pick<Host, "instances" | "feed">): AgentCensus {
  return {
    roles: () => {
      const roles = new Map<Guest["role"]["kind"], number>();
      for (const { adopted } of instances.all()) {
        if (adopted === null) continue;
        const { kind } = adopted.runner.guest.role;
        roles.set(kind, (roles.get(kind) ?? 0) + 1);
      }
      return roles;
    },
    unsentEvents: () => feed.unsent,
    oldestUnsentUnixUs: () => feed.oldestUnsentUnixUs,
  };
}

import { connect, type NatsConnection } from "nats";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { type Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { FEED_ALL } from "../../proto/subjects.ts";

export interface EndedMigration {
  readonly guestId: string;
  readonly migrationId: string;
  readonly phase: Phase;
  readonly outcome: Outcome;
  readonly reason: string;
}

const TERMINAL: ReadonlySet<Phase> = new Set([Phase.COMPLETED, Phase.CANCELLED, Phase.FAILED]);
/** Most of what coordinators say is not read any further. */
const MAY_BE_END = /"to":"PHASE_(COMPLETED|CANCELLED|FAILED)"/;

/** Hears by plain NATS which migrations end, as a control plane may that asks no coordinator. */
export async function hearEndedMigrations(
  natsUrl: string,
  onEnd: (ended: EndedMigration) => void,
): Promise<NatsConnection> {
  const connection = await connect({ servers: natsUrl, name: "fleet control plane" });
  connection.subscribe(FEED_ALL.replace(">", "*.coordinator"), {
    callback: (error, message) => {
      if (error !== null) throw error;
      const text = message.string();
      if (!MAY_BE_END.test(text)) return;
      const { event, guestId, migrationId } = FeedEvent.fromJSON(JSON.parse(text));
      if (event?.$case !== "phaseChanged" || !TERMINAL.has(event.value.to)) return;
      const { outcome, reason, to } = event.value;
      onEnd({ guestId, migrationId, phase: to, outcome, reason });
    },
  });
  await connection.flush();
  return connection;
}

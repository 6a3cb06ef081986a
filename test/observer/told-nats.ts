import type { JetStreamClient, NatsConnection } from "nats";
import { subjectOf } from "../../agent/feed/feed-subject.ts";
import { encodeGuestRecord, encodeMigrationState } from "../../coordinator/record/record-codec.ts";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { GuestRecord, HostRecord, type MigrationState } from "../../proto/gen/switchover/v1/record.ts";
import type { HostId } from "../../proto/ids.ts";
import { GUEST_BUCKET, HISTORY_BUCKET, HOST_BUCKET } from "../../proto/subjects.ts";
import { cloudEventHeaders } from "../../services/nats/cloud-event.ts";

/** Writes that wait for their answers at a time. */
const AT_ONCE = 256;

/** Writes into NATS what coordinators and agents would, for those who only read it. */
export class ToldNats {
  readonly #stream: JetStreamClient;

  constructor(connection: NatsConnection) {
    this.#stream = connection.jetstream({ timeout: 10_000 });
  }

  /** A guest's record with its live, or last, migration. */
  async record(state: MigrationState): Promise<void> {
    const guestId = state.migration?.spec?.guestId ?? "";
    const record = GuestRecord.create({ guestId, migration: state });
    await this.#stream.publish(`$KV.${GUEST_BUCKET}.${guestId}`, encodeGuestRecord(record));
  }

  /** Ended migrations. */
  async history(states: readonly MigrationState[]): Promise<void> {
    for (let from = 0; from < states.length; from += AT_ONCE) {
      await Promise.all(
        states
          .slice(from, from + AT_ONCE)
          .map((state) =>
            this.#stream.publish(
              `$KV.${HISTORY_BUCKET}.${state.migration?.migrationId ?? ""}`,
              encodeMigrationState(state),
            ),
          ),
      );
    }
  }

  async heartbeat(hostId: string): Promise<void> {
    const record = HostRecord.create({ hostId, target: `${hostId}.example:7443`, version: "0.1.0" });
    await this.#stream.publish(`$KV.${HOST_BUCKET}.${hostId}`, JSON.stringify(HostRecord.toJSON(record)));
  }

  async event(told: Partial<FeedEvent> & Pick<FeedEvent, "guestId" | "hostId" | "sequence">): Promise<void> {
    const event = FeedEvent.fromPartial({ atUnixUs: BigInt(Date.now()) * 1_000n, ...told });
    const subject = subjectOf(event, event.hostId as HostId);
    const id = `${subject}:1:${event.sequence}`;
    const headers = cloudEventHeaders(event, id);
    await this.#stream.publish(subject, JSON.stringify(FeedEvent.toJSON(event)), { headers, msgID: id });
  }
}

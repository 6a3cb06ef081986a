import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { MsgHdrs } from "nats";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { traceOfMigration } from "../../proto/trace-context.ts";
import { cloudEventHeaders } from "../../services/nats/cloud-event.ts";

const MIGRATION = "web-7-mk3v0q8ya1z9";
const GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

function read(headers: MsgHdrs): Record<string, string> {
  return Object.fromEntries([...headers].map(([name, values]) => [name, values.join("|")]));
}

const PHASE = FeedEvent.create({
  migrationId: MIGRATION,
  guestId: "web-7",
  sequence: 2n,
  atUnixUs: 1_796_067_460_702_051n,
  event: { $case: "phaseChanged", value: { from: Phase.PENDING, to: Phase.PREPARING } },
});

describe("a feed message's headers", () => {
  it("are those of a CloudEvent in binary mode, in the trace of its migration", () => {
    const { traceparent } = traceOfMigration(MIGRATION);
    assert.deepEqual(read(cloudEventHeaders(PHASE, `${MIGRATION}:2`)), {
      "ce-specversion": "1.0",
      "ce-id": `${MIGRATION}:2`,
      "ce-source": "/switchover/coordinator",
      "ce-type": "org.switchover.v1.phaseChanged",
      "ce-subject": MIGRATION,
      "ce-time": "2026-11-30T19:37:40.702051Z",
      "ce-datacontenttype": "application/json",
      "ce-traceparent": traceparent,
      traceparent,
    });
  });

  it("name the host that speaks, and the guest where no migration is spoken of, which is in no trace", () => {
    const event = FeedEvent.create({
      guestId: "web-7",
      hostId: "ha",
      sequence: 1n,
      event: { $case: "nicDetached", value: { nicId: "net0" } },
    });
    assert.deepEqual(read(cloudEventHeaders(event, "id")), {
      "ce-specversion": "1.0",
      "ce-id": "id",
      "ce-source": "/switchover/host/ha",
      "ce-type": "org.switchover.v1.nicDetached",
      "ce-subject": "guest-web-7",
      "ce-time": "1970-01-01T00:00:00.000000Z",
      "ce-datacontenttype": "application/json",
    });
  });

  it("are in the caller's trace where the event has it", () => {
    const { traceparent } = traceOfMigration(MIGRATION, { traceparent: GIVEN });
    const headers = read(cloudEventHeaders({ ...PHASE, traceparent: GIVEN }, "id"));
    assert.equal(headers["ce-traceparent"], traceparent);
    assert.match(headers.traceparent ?? "", /^00-4bf92f3577b34da6a3ce929d0e0e4736-.*-00$/);
  });

  it("have the caller's tracestate unchanged, and encoded as the binding wants it, beside its traceparent alone", () => {
    const tracestate = "rojo=00f067aa0ba902b7,congo=a b";
    const headers = read(cloudEventHeaders({ ...PHASE, traceparent: GIVEN, tracestate }, "id"));
    assert.equal(headers.tracestate, tracestate);
    assert.equal(headers["ce-tracestate"], "rojo=00f067aa0ba902b7,congo=a%20b");
    for (const event of [
      { ...PHASE, tracestate },
      { ...PHASE, traceparent: GIVEN, tracestate: "Not One" },
    ]) {
      const without = read(cloudEventHeaders(event, "id"));
      assert.ok(!("tracestate" in without) && !("ce-tracestate" in without));
    }
  });

  it("are the same when an event that was stored as JSON is published again", () => {
    const again = FeedEvent.fromJSON(JSON.parse(JSON.stringify(FeedEvent.toJSON(PHASE))));
    assert.deepEqual(read(cloudEventHeaders(again, "id")), read(cloudEventHeaders(PHASE, "id")));
  });

  it("tell an event of a later version as unspecified", () => {
    const later = FeedEvent.fromJSON({ migrationId: MIGRATION, somethingNew: {} });
    assert.equal(read(cloudEventHeaders(later, "id"))["ce-type"], "org.switchover.v1.unspecified");
  });

  it("are percent-encoded where their values have more than printable ASCII", () => {
    const { "ce-id": id } = read(cloudEventHeaders(PHASE, 'a "b" 5% €😀\r\n'));
    assert.equal(id, "a%20%22b%22%205%25%20%E2%82%AC%F0%9F%98%80%0D%0A");
  });
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { completeState, withMigration } from "../../coordinator/migration/complete-state.ts";
import { claimGuest, commitState, type MigrationRequest } from "../../coordinator/record/guest-record.ts";
import { decodeGuestRecord, encodeGuestRecord } from "../../coordinator/record/record-codec.ts";
import { MigrationMode, Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import type { GuestRecord } from "../../proto/gen/switchover/v1/record.ts";
import type { GuestId } from "../../proto/ids.ts";
import { Story, specOf } from "./coordinator-story.ts";

const NOW = 1_795_456_900_000_000n;

function requestOf(requestId: string, change: Parameters<typeof specOf>[0] = {}): MigrationRequest {
  return { requestId, guestId: "web-7" as GuestId, spec: specOf(change) };
}

function claimed(record: GuestRecord | null, request: MigrationRequest, random = 0.5): GuestRecord {
  const claim = claimGuest(record, request, NOW, random);
  assert.equal(claim.t, "claimed");
  return claim.t === "claimed" ? claim.record : assert.fail();
}

function ended(record: GuestRecord): GuestRecord {
  assert.ok(record.migration);
  const state = completeState(record.migration);
  return commitState(
    record,
    withMigration(state, { phase: Phase.COMPLETED, outcome: Outcome.RUNS_ON_DESTINATION }),
  );
}

describe("a guest's claim", () => {
  it("makes the first record, with a migration that names the guest", () => {
    const record = claimed(null, requestOf("r1"));
    assert.equal(record.epoch, 1n);
    assert.equal(record.revision, 1n);
    const migration = record.migration?.migration;
    assert.match(migration?.migrationId ?? "", /^web-7-[0-9a-z]{12,14}$/);
    assert.deepEqual(migration?.fence, { epoch: 1n, revision: 1n });
    assert.equal(migration?.phase, Phase.PENDING);
    assert.equal(migration?.phases.length, 1);
    assert.deepEqual(record.requests, [{ requestId: "r1", migrationId: migration?.migrationId }]);
  });

  it("is answered with the same migration for the same request, ended or not", () => {
    const record = claimed(null, requestOf("r1"));
    for (const held of [record, ended(record)]) {
      const claim = claimGuest(held, requestOf("r1"), NOW + 5n, 0.1);
      assert.ok(claim.t === "already");
      assert.equal(claim.state.migration.migrationId, record.migration?.migration?.migrationId);
    }
  });

  it("is refused for other content under the same request id", () => {
    const record = claimed(null, requestOf("r1"));
    const claim = claimGuest(record, requestOf("r1", { mode: MigrationMode.POST_COPY }), NOW, 0.1);
    assert.ok(claim.t === "refused");
    assert.equal(claim.error.code, "ALREADY_EXISTS");
    assert.equal(claim.error.field, "request_id");
  });

  it("is refused while another migration of the guest has not ended", () => {
    const claim = claimGuest(claimed(null, requestOf("r1")), requestOf("r2"), NOW, 0.1);
    assert.ok(claim.t === "refused");
    assert.equal(claim.error.code, "FAILED_PRECONDITION");
    assert.equal(claim.error.reason, "GUEST_BUSY");
  });

  it("takes the guest over from a migration that has ended, above its epoch", () => {
    const first = ended(claimed(null, requestOf("r1")));
    const second = claimed({ ...first, epoch: 41n }, requestOf("r2"), 0.25);
    assert.equal(second.epoch, 42n);
    assert.equal(second.revision, 3n);
    assert.equal(second.migration?.migration?.fence?.epoch, 42n);
    assert.deepEqual(
      second.requests.map((entry) => entry.requestId),
      ["r1", "r2"],
    );
  });

  it("points at an earlier migration for its request, whatever was migrated since", () => {
    const first = ended(claimed(null, requestOf("r1")));
    const second = claimed(first, requestOf("r2"), 0.25);
    const claim = claimGuest(second, requestOf("r1"), NOW, 0.75);
    assert.deepEqual(claim, { t: "earlier", migrationId: first.migration?.migration?.migrationId });
  });

  it("remembers 32 requests, the newest", () => {
    let record = claimed(null, requestOf("r0"));
    for (let index = 1; index <= 40; index += 1) {
      record = claimed(ended(record), requestOf(`r${index}`), index / 100);
    }
    assert.equal(record.requests.length, 32);
    assert.equal(record.requests[0]?.requestId, "r9");
    assert.equal(record.requests.at(-1)?.requestId, "r40");
  });
});

describe("a guest's record", () => {
  it("counts each commit, and its migration's fence is that commit's", () => {
    const record = claimed(null, requestOf("r1"));
    const story = new Story().toTransferring();
    story.handsOff();
    const next = commitState(record, withMigration(story.state, { fence: { epoch: 9n, revision: 1n } }));
    assert.equal(next.revision, 2n);
    assert.equal(next.epoch, 9n);
    assert.deepEqual(next.migration?.migration?.fence, { epoch: 9n, revision: 2n });
  });

  it("comes back from its bytes as it was", () => {
    const story = new Story().toStopped();
    story.handsOff();
    story.startsCpus();
    const record = commitState(claimed(null, requestOf("r1")), story.state);
    assert.deepEqual(decodeGuestRecord(encodeGuestRecord(record)), record);
  });

  it("that no coordinator wrote is INTERNAL / RECORD_UNREADABLE", () => {
    for (const text of ["", "{", "7", "null", '{"migration":{"migration":{"fence":{"epoch":"one"}}}}']) {
      assert.throws(() => decodeGuestRecord(Buffer.from(text)), {
        code: "INTERNAL",
        reason: "RECORD_UNREADABLE",
      });
    }
  });

  it("of a newer coordinator is read without what is new", () => {
    const record = claimed(null, requestOf("r1"));
    const json = JSON.parse(Buffer.from(encodeGuestRecord(record)).toString()) as Record<string, unknown>;
    const newer = Buffer.from(JSON.stringify({ ...json, colour: "green" }));
    assert.deepEqual(decodeGuestRecord(newer), record);
  });
});

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { deadlinesOf } from "../../coordinator/migration/deadlines.ts";
import { parseStartMigration } from "../../coordinator/migration-request.ts";
import { claimGuest } from "../../coordinator/record/guest-record.ts";
import {
  DeadlineAction,
  MigrationMode,
  type MigrationSpec,
  Phase,
} from "../../proto/gen/switchover/v1/migration.ts";
import type { GuestId } from "../../proto/ids.ts";
import { Story, specOf } from "./coordinator-story.ts";
import { World } from "./coordinator-world.ts";

const PASSED = { t: "DeadlinePassed", deadline: "spec" } as const;
const { CANCEL, SWITCH_TO_POST_COPY } = DeadlineAction;
const LIVE = specOf({ deadline: { afterMs: 5_000, action: CANCEL } });
const POST_COPY = specOf({
  mode: MigrationMode.POST_COPY,
  postCopy: { trigger: { $case: "afterPasses", value: 50 } },
  deadline: { afterMs: 5_000, action: SWITCH_TO_POST_COPY },
});

function waitsForIt(story: Story): boolean {
  const limits = { fenceAfterMs: 10_000 };
  return deadlinesOf(story.state, 0n, limits).some(({ name }) => name === "spec");
}

describe("a migration's deadline", () => {
  it("counts from the request, in whatever phase before the switchover", () => {
    const story = new Story(LIVE);
    const due = story.state.migration.requestedAtUnixUs + 5_000_000n;
    for (const phase of ["PENDING", "PREPARING", "TRANSFERRING"]) {
      if (phase === "PREPARING") story.hear({ t: "Admitted" });
      if (phase === "TRANSFERRING") story.toTransferring();
      assert.equal(story.phase, phase);
      const [deadline] = deadlinesOf(story.state, due, { fenceAfterMs: 10_000 });
      assert.deepEqual(deadline, { name: "spec", atUnixUs: due });
    }
  });

  it("cancels a migration that waits, prepares or transfers, and says that it was the deadline", () => {
    const waiting = new Story(LIVE);
    assert.equal(waiting.hear(PASSED), "CANCELLING CANCELLED |");
    assert.equal(waiting.state.migration.reasonCode, "DEADLINE_PASSED");
    const transferring = new Story(LIVE).toTransferring();
    assert.equal(transferring.hear(PASSED), "CANCELLING | cancelTransfer@source");
    assert.equal(transferring.state.migration.reasonCode, "DEADLINE_PASSED");
    assert.match(
      transferring.state.migration.reason,
      /5000 ms after the request: the migration is cancelled/,
    );
  });

  it("cancels nothing once the CPUs have stopped, nor once the switch to post-copy was sent", () => {
    const stopped = new Story(LIVE).toStopped();
    assert.equal(waitsForIt(stopped), false);
    assert.equal(stopped.hear(PASSED), "|");
    const spec = { ...POST_COPY, deadline: { afterMs: 5_000, action: CANCEL } };
    const switching = new Story(spec).toTransferring();
    switching.hear({ t: "PostCopyAsked" });
    assert.equal(waitsForIt(switching), true);
    switching.answers("source", { name: "switchToPostCopy" });
    assert.equal(waitsForIt(switching), false);
    assert.equal(switching.hear(PASSED), "|");
  });

  it("moves the CPUs in post-copy mode, and says why", () => {
    const story = new Story(POST_COPY).toTransferring();
    assert.equal(story.hear(PASSED), "| switchToPostCopy@source");
    assert.equal(story.state.migration.reasonCode, "DEADLINE_PASSED");
    assert.equal(waitsForIt(story), false);
  });

  it("moves them as soon as it can be where the transfer has not begun yet", () => {
    const story = new Story(POST_COPY);
    assert.equal(story.hear(PASSED), "|");
    story.toTransferring();
    assert.ok(story.last?.commands.some(({ name }) => name === "switchToPostCopy"));
  });

  it("leaves a caller's cancel its own reason", () => {
    const story = new Story(LIVE);
    story.hear({ t: "CancelAsked" });
    assert.equal(story.state.migration.reasonCode, "CANCELLED");
    const late = new Story(POST_COPY).toTransferring();
    late.hear(PASSED);
    late.hear({ t: "CancelAsked" });
    assert.notEqual(late.state.migration.reasonCode, "DEADLINE_PASSED");
  });

  const WRONG: readonly (readonly [string, Partial<MigrationSpec>, string])[] = [
    ["no time", { deadline: { afterMs: 0, action: CANCEL } }, "after_ms"],
    ["more than a week", { deadline: { afterMs: 604_800_001, action: CANCEL } }, "after_ms"],
    ["no action", { deadline: { afterMs: 1, action: DeadlineAction.UNSPECIFIED } }, "action"],
    ["an unknown action", { deadline: { afterMs: 1, action: 9 as DeadlineAction } }, "action"],
    ["post-copy in live mode", { deadline: { afterMs: 1, action: SWITCH_TO_POST_COPY } }, "action"],
  ];
  for (const [what, change, field] of WRONG) {
    it(`is refused with ${what}`, () => {
      const asked = { requestId: "r1", spec: specOf(change), validateOnly: false };
      assert.throws(() => parseStartMigration(asked), {
        code: "INVALID_ARGUMENT",
        field: `spec.deadline.${field}`,
      });
    });
  }

  for (const priority of [101, -101, 0.5]) {
    it(`is refused with priority ${priority} as well`, () => {
      const asked = { requestId: "r1", spec: specOf({ priority }), validateOnly: false };
      assert.throws(() => parseStartMigration(asked), { code: "INVALID_ARGUMENT", field: "spec.priority" });
    });
  }
});

describe("a coordinator that took a migration over", () => {
  let world: World;
  beforeEach(() => {
    world = new World();
    world.hosts.moves = "when told";
  });
  afterEach(() => world.close());

  it("cancels it at the deadline that began with the request", async () => {
    const guestId = "web-7" as GuestId;
    const request = { requestId: "r1", guestId, spec: LIVE };
    const claim = claimGuest(null, request, BigInt(world.clock.unixUs()), 0.5);
    assert.ok(claim.t === "claimed");
    const stored = world.store.put(claim.record);
    const first = world.startRunner();
    first.take(stored);
    await world.untilPhase("web-7", "TRANSFERRING");
    world.clock.advance(4_000);
    first.close();
    await world.startRunner().resume();
    const state = await world.untilArchived("web-7");
    assert.equal(state.migration?.phase, Phase.CANCELLED);
    assert.equal(state.migration?.reasonCode, "DEADLINE_PASSED");
    const tookMs = (world.clock.unixUs() - Number(state.migration?.requestedAtUnixUs)) / 1_000;
    assert.ok(tookMs >= 5_000 && tookMs < 5_500, `${tookMs} ms`);
  });
});

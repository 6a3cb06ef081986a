import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { Migration, Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { type ChaosMigration, judgeMigration, judgeReaders } from "../chaos/judge-chaos.ts";

const ID = "web-mk3v0q8ya1z9";
const PHASES = [Phase.PENDING, Phase.PREPARING, Phase.TRANSFERRING, Phase.SWITCHING_OVER, Phase.COMPLETING];
const ALL = [...PHASES, Phase.COMPLETED];

function feedOf(phases: readonly Phase[], migrationId = ID): readonly FeedEvent[] {
  return phases.map((to, index) =>
    FeedEvent.fromPartial({
      migrationId,
      guestId: "web",
      sequence: BigInt(index + 1),
      atUnixUs: BigInt(index + 1),
      event: { $case: "phaseChanged", value: { from: phases[index - 1] ?? Phase.UNSPECIFIED, to } },
    }),
  );
}

function ended(change: Partial<ChaosMigration> = {}, phases: readonly Phase[] = ALL): ChaosMigration {
  const told = Migration.fromPartial({
    migrationId: ID,
    outcome: Outcome.RUNS_ON_DESTINATION,
    phases: phases.map((phase) => ({ phase })),
  });
  const found = { guestId: "web", runs: "destination", registered: "destination" } as const;
  return { guestId: "web", migrationIds: [ID, ID], told: [told], found, ...change };
}

describe("the judgement of a run in which programs were killed", () => {
  it("finds nothing wrong where a migration has ended once and is told alike by all", () => {
    assert.deepEqual(judgeMigration(ended(), feedOf(ALL)), []);
  });

  const wrongs: readonly (readonly [string, ChaosMigration, readonly FeedEvent[], RegExp])[] = [
    ["a migration that has not ended", ended({}, PHASES), feedOf(PHASES), /has not ended/],
    ["a request with two answers", ended({ migrationIds: [ID, `${ID}x`] }), feedOf(ALL), /was answered as/],
    [
      "a second migration of the guest",
      ended(),
      [...feedOf(ALL), ...feedOf(ALL, `${ID}x`)],
      /another migration/,
    ],
    ["a phase that the feed lacks", ended(), feedOf(ALL).toSpliced(2, 1), /I7: event 4/],
    [
      "a phase that the feed tells twice",
      ended(),
      feedOf(ALL).toSpliced(2, 0, ...feedOf(ALL).slice(2, 3)),
      /I7/,
    ],
    [
      "a step that no migration takes",
      ended({}, [Phase.PENDING, Phase.COMPLETED]),
      feedOf([Phase.PENDING, Phase.COMPLETED]),
      /It went from/,
    ],
    [
      "a guest that is elsewhere",
      ended({ found: { guestId: "web", runs: "source", registered: "source" } }),
      feedOf(ALL),
      /runs at source/,
    ],
    [
      "a guest that is registered twice",
      ended({ found: { guestId: "web", runs: "destination", registered: "both" } }),
      feedOf(ALL),
      /registered at both/,
    ],
  ];
  for (const [what, migration, events, sentence] of wrongs) {
    it(`finds ${what}`, () => assert.match(judgeMigration(migration, events).join("\n"), sentence));
  }

  it("finds what one reader of the feed has read and the other has not, but for what came after the other", () => {
    const message = (position: number, body = "{}") => ({ position, subject: "s", body });
    const later = [message(1), message(2)];
    assert.deepEqual(judgeReaders([message(1), message(2), message(3)], later), []);
    assert.equal(judgeReaders([message(1)], later).length, 2);
    assert.equal(judgeReaders([message(1), message(2, "{x}")], later).length, 1);
  });
});

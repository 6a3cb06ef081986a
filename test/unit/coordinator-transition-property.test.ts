import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import {
  type CompleteState,
  completeState,
  hostOf,
  type Side,
} from "../../coordinator/migration/complete-state.ts";
import { NO_WAY_BACK } from "../../coordinator/migration/facts.ts";
import { type CommandName, commandKey } from "../../coordinator/migration/migration-command.ts";
import type {
  AgentEvent,
  AgentWord,
  CommandReply,
  DeadlineName,
  MigrationEvent,
} from "../../coordinator/migration/migration-event.ts";
import { isTerminal, PHASE_EDGES } from "../../coordinator/migration/phase-edges.ts";
import { outstandingCommands, transition } from "../../coordinator/migration/transition.ts";
import { decodeMigrationState, encodeMigrationState } from "../../coordinator/record/record-codec.ts";
import type { ErrorCode } from "../../proto/error.ts";
import { AnnouncementsEndedBy } from "../../proto/gen/switchover/v1/feed.ts";
import { CpuState } from "../../proto/gen/switchover/v1/guest.ts";
import { DeadlineAction, MigrationMode, Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { handOffOf, MIGRATION_ID, phaseName, progressOf, Story, specOf } from "./coordinator-story.ts";

/** An event that is made for the state it meets: numbers and epochs are drawn relative to that. */
type Draw = (state: CompleteState) => MigrationEvent;

const SIDE = fc.constantFrom<Side>("source", "destination");
const STATUSES = [
  "setup",
  "active",
  "device",
  "postcopy-active",
  "postcopy-paused",
  "postcopy-recover",
  "completed",
  "failed",
  "cancelled",
];
const WORDS: readonly ((state: CompleteState) => AgentWord)[] = [
  ...STATUSES.map((status) => () => ({ t: "TransferStatusChanged", status, error: "" }) as const),
  () => ({ t: "TransferProgressed", progress: progressOf() }),
  () => ({ t: "CpusStopped", stoppedAtUnixUs: 5n, receivedAtUnixUs: 6n }),
  () => ({ t: "StopExplained", runState: "paused" }),
  () => ({ t: "StopExplained", runState: "finish-migrate" }),
  () => ({ t: "NicsDeregistered", deregisteredAtUnixUs: 7n }),
  (state) => ({ t: "HandedOff", handOff: handOffOf({ fence: state.migration.fence }) }),
  (state) => ({ t: "HandOffReceived", handOff: handOffOf({ fence: state.migration.fence }) }),
  () => ({ t: "HandOffAwaited", waitedMs: 20 }),
  () => ({ t: "DestinationReady", runState: "paused", readyAtUnixUs: 8n }),
  () => ({ t: "NicsRegistered", registeredAtUnixUs: 9n, registrationSentAtUnixUs: 9n }),
  () => ({ t: "CpusStarted", contSentAtUnixUs: 10n, resumedAtUnixUs: 11n }),
  () => ({ t: "CpusStarted", contSentAtUnixUs: 0n, resumedAtUnixUs: 11n }),
  () => ({ t: "TakenOverPaused", runState: "paused" }),
  () => ({ t: "Announced", round: 1, announcedAtUnixUs: 12n, firstFrames: [] }),
  () => ({ t: "VmmLost", sentence: "QEMU ended." }),
  () => ({ t: "Kept", runState: "running", cpuState: CpuState.STOPPED }),
  () => ({ t: "TransferStalled", stalledForMs: 5_000 }),
  () => ({ t: "HandedBack", sentence: "The load failed." }),
  () => ({ t: "SourceResumed", runState: "running" }),
  () => ({ t: "EventsForgotten" }),
  () => ({ t: "NotUnderstood" }),
];

function wordOf(state: CompleteState, side: Side, word: AgentWord, ahead = 1n, epochsAgo = 0n): AgentEvent {
  const hostId = hostOf(state, side);
  return {
    hostId,
    instanceId: side === "source" ? "a1" : "b1",
    migrationId: MIGRATION_ID,
    epoch: state.migration.fence.epoch - epochsAgo,
    sequence: (state.heardSequences[hostId] ?? 0n) + ahead,
    atUnixUs: 8n,
    ...word,
  } as AgentEvent;
}

/** What the agents of a healthy migration say next. */
function nextWord(state: CompleteState): AgentEvent | null {
  const status = (side: Side, name: string) =>
    wordOf(state, side, { t: "TransferStatusChanged", status: name, error: "" });
  if (state.migration.phase === Phase.PENDING || state.migration.phase === Phase.PREPARING) return null;
  if (!state.kept && !state.handedOff) {
    if (!state.transferActive) return status("source", "active");
    return wordOf(state, "source", { t: "HandedOff", handOff: handOffOf({ fence: state.migration.fence }) });
  }
  if (state.handedOff && !state.takenOver && !state.handedBack && !state.destination.vmmLost) {
    return wordOf(state, "destination", { t: "CpusStarted", contSentAtUnixUs: 10n, resumedAtUnixUs: 11n });
  }
  if (!state.takenOver || state.pagesComplete) return null;
  return status(state.source.transferStatus === "completed" ? "destination" : "source", "completed");
}

const agentWords: fc.Arbitrary<Draw> = fc
  .record({
    side: SIDE,
    word: fc.constantFrom(...WORDS),
    ahead: fc.constantFrom(1n, 1n, 1n, 1n, 0n, -2n, 2n),
    epochsAgo: fc.constantFrom(0n, 0n, 0n, 0n, 1n),
  })
  .map(
    ({ side, word, ahead, epochsAgo }) =>
      (state) =>
        wordOf(state, side, word(state), ahead, epochsAgo),
  );

const nextWords: fc.Arbitrary<Draw> = fc.constant((state) => nextWord(state) ?? { t: "Admitted" });

function replyTo(name: CommandName, side: Side, state: CompleteState, choice: number): CommandReply {
  const word = handOffOf({ fence: state.migration.fence });
  switch (name) {
    case "preflight": {
      const instance = {
        instanceId: side === "source" ? "a1" : "b1",
        runState: "running",
        epoch: BigInt(choice),
        nics: [],
      };
      const refusals = choice === 3 ? [{ reason: "NO", sentence: "No.", field: "" }] : [];
      return { name, refusals, instance: choice === 2 ? null : instance };
    }
    case "compareClocks":
      return {
        name,
        offset: { destinationAheadUs: 3n, errorUs: 200n, measuredAtUnixUs: 1n, roundTrips: 4 },
      };
    case "prepareDestination":
      return { name, incomingUri: "tcp:10.0.0.2:40123" };
    case "armSource":
    case "resumeSource":
      return { name, runState: choice === 0 ? "paused" : "running" };
    case "getHandOff":
      return { name, handOff: choice === 0 ? undefined : word };
    case "cancelTransfer":
      if (choice < 2) return { name, answer: "kept", runState: "running", cpuState: CpuState.STOPPED };
      return { name, answer: "tooLate", handOff: choice === 2 ? undefined : word };
    case "handBack":
      if (choice < 2) return { name, answer: "handedBack" };
      return { name, answer: "tooLate", vmmLost: choice === 3 };
    case "deliverHandOff": {
      const answer = { runState: "running", transferStatus: "active", vmmLost: false };
      return { name, takenOver: choice === 3 ? answer : undefined };
    }
    case "recoverMigration":
      return { name, recoveryUri: "tcp:10.0.0.2:40124" };
    default:
      return { name };
  }
}

/** An answer to something that is outstanding, if anything is. */
const answers: fc.Arbitrary<Draw> = fc
  .record({
    pick: fc.nat(3),
    choice: fc.constantFrom(1, 1, 1, 1, 1, 0, 2, 3),
    outcome: fc.constantFrom<ErrorCode | "done">(
      "done",
      "done",
      "done",
      "done",
      "done",
      "done",
      "UNAVAILABLE",
      "UNIMPLEMENTED",
      "FAILED_PRECONDITION",
    ),
  })
  .map(({ pick, choice, outcome }) => (state) => {
    const open = outstandingCommands(state);
    const command = open[pick % Math.max(1, open.length)];
    if (command === undefined) return { t: "Admitted" };
    const { side, epoch, name } = command;
    if (outcome === "done") {
      return { t: "CommandSucceeded", side, epoch, reply: replyTo(name, side, state, choice) };
    }
    const reason = choice === 0 ? NO_WAY_BACK : "BROKEN";
    return {
      t: "CommandFailed",
      side,
      epoch,
      name,
      error: { code: outcome, reason, sentence: `${name} failed.` },
    };
  });

/** An answer that nobody waits for: to any command, under any epoch. */
const strayAnswers: fc.Arbitrary<Draw> = fc
  .record({
    side: SIDE,
    name: fc.constantFrom<CommandName>(
      "preflight",
      "compareClocks",
      "prepareDestination",
      "armSource",
      "getHandOff",
      "cancelTransfer",
      "handBack",
      "resumeSource",
      "abortDestination",
      "fenceHost",
      "releaseSource",
    ),
    epoch: fc.bigInt(0n, 6n),
    choice: fc.nat(3),
  })
  .map(({ side, name, epoch, choice }) => (state) => ({
    t: "CommandSucceeded",
    side,
    epoch,
    reply: replyTo(name, side, state, choice),
  }));

const statements: fc.Arbitrary<Draw> = fc
  .oneof(
    fc.constantFrom<MigrationEvent>(
      { t: "Admitted" },
      { t: "PostCopyAsked" },
      { t: "CancelAsked" },
      { t: "PauseAsked" },
      { t: "RecoverAsked" },
      { t: "Resolved", resolution: "resumeSource" },
      { t: "Resolved", resolution: "guestLost" },
    ),
    SIDE.map((side): MigrationEvent => ({ t: "HostUnreachable", side })),
    SIDE.map((side): MigrationEvent => ({ t: "HostDeclaredDead", side })),
    fc
      .constantFrom<DeadlineName>(
        "postCopy",
        "handOff",
        "askAgain",
        "fenceSource",
        "fenceDestination",
        "takeOver",
        "recall",
        "words",
        "recover",
        "spec",
      )
      .map((deadline): MigrationEvent => ({ t: "DeadlinePassed", deadline })),
  )
  .map((event) => () => event);

/** Most draws bring a migration forward, so that runs reach every phase. */
const draws = fc.array(
  fc.oneof(
    { weight: 8, arbitrary: answers },
    { weight: 6, arbitrary: agentWords },
    { weight: 4, arbitrary: nextWords },
    { weight: 1, arbitrary: strayAnswers },
    { weight: 2, arbitrary: statements },
  ),
  { minLength: 10, maxLength: 60 },
);
const specs = fc
  .constantFrom(
    { mode: MigrationMode.LIVE, action: DeadlineAction.CANCEL },
    { mode: MigrationMode.POST_COPY, action: DeadlineAction.CANCEL },
    { mode: MigrationMode.POST_COPY, action: DeadlineAction.SWITCH_TO_POST_COPY },
  )
  .map(({ mode, action }) => {
    const deadline = { afterMs: 5_000, action };
    return specOf({ mode, sourceInstanceId: "a1", destinationInstanceId: "b1", deadline });
  });

function restored(state: CompleteState): CompleteState {
  return completeState(decodeMigrationState(encodeMigrationState(state)));
}

/** What a failing run heard, so that it can be told as a test of its own. */
function toldBy(story: Story): string {
  return JSON.stringify(story.events.slice(0, 80), (_key, value) =>
    typeof value === "bigint" ? String(value) : value,
  );
}

const RUNS = { numRuns: 3_000, includeErrorInReport: true };

describe("a migration that hears anything in any order", () => {
  const reached = new Set<string>();

  it("keeps to the table of edges, to its end, to its epoch and to its words", () => {
    fc.assert(
      fc.property(specs, draws, fc.boolean(), (spec, events, starts) => {
        const story = new Story(spec);
        if (starts) story.toTransferring();
        const open = new Set(outstandingCommands(story.state).map(commandKey));
        for (const draw of events) {
          const before = story.state;
          const event = draw(before);
          story.hear(event);
          const { state, last } = story;
          const told = `after ${toldBy(story)}`;
          assertEdges(state);
          if (isTerminal(before.migration.phase)) assert.equal(state, before);
          assert.ok(state.migration.fence.epoch >= before.migration.fence.epoch);
          assert.ok(!(state.kept && state.handedOff), `a source both kept and handed off ${told}`);
          assert.ok(
            !(state.takenOver && state.handedBack),
            `a guest was both taken over and handed back ${told}`,
          );
          for (const command of last?.commands ?? []) {
            const hasNone = command.name === "preflight" || command.name === "compareClocks";
            const expected = hasNone ? 0n : state.migration.fence.epoch;
            assert.equal(command.epoch, expected);
          }
          assertEverythingIsDriven(open, story, event);
          if (isTerminal(state.migration.phase)) assertEnd(story);
        }
        for (const phase of story.path) reached.add(phase);
      }),
      RUNS,
    );
  });

  it("went through every phase there is in those runs", () => {
    const all = Object.values(Phase).filter((phase) => phase !== Phase.UNSPECIFIED);
    assert.deepEqual([...reached].sort(), all.map(phaseName).sort());
  });

  it("comes to an end once everybody answers and says what is so", () => {
    fc.assert(
      fc.property(specs, draws, fc.nat(3), (spec, events, choice) => {
        const story = new Story(spec).toTransferring();
        for (const draw of events) {
          const event = draw(story.state);
          // What an agent refuses for good, or a lost VMM takes with it, may well be left to a person.
          if (event.t === "CommandFailed" && event.error.code !== "UNAVAILABLE") continue;
          story.hear(event);
        }
        for (let rounds = 0; rounds < 40 && !isTerminal(story.state.migration.phase); rounds += 1) {
          heal(story, choice);
        }
        assert.ok(isTerminal(story.state.migration.phase), `${story.path.join(" ")} after ${toldBy(story)}`);
      }),
      RUNS,
    );
  });

  /** One round of a healthy world: every question is answered, and whoever has something to say says it. */
  function heal(story: Story, choice: number): void {
    for (const { side, epoch, name } of outstandingCommands(story.state)) {
      story.hear({ t: "CommandSucceeded", side, epoch, reply: replyTo(name, side, story.state, choice) });
    }
    const word = nextWord(story.state);
    if (word !== null) story.hear(word);
    story.hear({ t: "RecoverAsked" });
    for (const deadline of ["askAgain", "words"] as const) story.hear({ t: "DeadlinePassed", deadline });
  }

  it("goes on from what was committed as if nothing had happened", () => {
    fc.assert(
      fc.property(specs, draws, (spec, events) => {
        const story = new Story(spec).toTransferring();
        for (const draw of events) {
          assert.deepEqual(outstandingCommands(restored(story.state)), outstandingCommands(story.state));
          const event = draw(story.state);
          const after = transition(restored(story.state), event, 99n);
          assert.deepEqual(after, transition(story.state, event, 99n));
          story.hear(event);
        }
      }),
      { numRuns: 500 },
    );
  });

  /** `open` holds what was driven and has not been answered; all that is outstanding must be in it. */
  function assertEverythingIsDriven(open: Set<string>, story: Story, event: MigrationEvent): void {
    if (event.t === "CommandSucceeded") open.delete(commandKey({ ...event, name: event.reply.name }));
    if (event.t === "CommandFailed") open.delete(commandKey(event));
    for (const command of story.last?.commands ?? []) open.add(commandKey(command));
    for (const command of outstandingCommands(story.state)) {
      assert.ok(
        open.has(commandKey(command)),
        `${commandKey(command)} is outstanding and nobody drives it, after ${toldBy(story)}`,
      );
    }
  }

  function assertEdges(state: CompleteState): void {
    const phases = [Phase.UNSPECIFIED, ...state.migration.phases.map((entry) => entry.phase)];
    for (const [index, to] of phases.entries()) {
      const from = phases[index - 1];
      if (from === undefined) continue;
      assert.ok(PHASE_EDGES[from].includes(to), `${phaseName(from)} -> ${phaseName(to)}`);
    }
  }

  function assertEnd(story: Story): void {
    const { state } = story;
    assert.notEqual(state.migration.outcome, Outcome.UNSPECIFIED, toldBy(story));
    assert.deepEqual(outstandingCommands(state), []);
    if (state.migration.phase === Phase.FAILED) assert.notEqual(state.migration.reason, "", toldBy(story));
  }
});

describe("a switchover whose words come on two routes", () => {
  const told = (): {
    readonly ready: Story;
    readonly words: Readonly<Record<Side, readonly AgentEvent[]>>;
  } => {
    const ready = new Story().toTransferring();
    const at = (side: Side) => (word: AgentWord) => ready.wordOf(side, word);
    const source = (
      [
        { t: "CpusStopped", stoppedAtUnixUs: 100n, receivedAtUnixUs: 110n },
        { t: "NicsDeregistered", deregisteredAtUnixUs: 120n },
        { t: "TransferStatusChanged", status: "completed", error: "" },
        { t: "HandedOff", handOff: handOffOf({ journaledAtUnixUs: 130n }) },
      ] as const
    ).map(at("source"));
    const destination = (
      [
        { t: "TransferStatusChanged", status: "completed", error: "" },
        { t: "DestinationReady", runState: "paused", readyAtUnixUs: 140n },
        { t: "HandOffReceived", handOff: handOffOf() },
        { t: "NicsRegistered", registeredAtUnixUs: 160n, registrationSentAtUnixUs: 160n },
        { t: "CpusStarted", contSentAtUnixUs: 170n, resumedAtUnixUs: 180n },
        {
          t: "Announced",
          round: 1,
          announcedAtUnixUs: 190n,
          endedBy: AnnouncementsEndedBy.SCHEDULE,
          firstFrames: [],
        },
      ] as const
    ).map(at("destination"));
    return { ready, words: { source, destination } };
  };

  it("ends the same, however the routes are interleaved", () => {
    const { ready, words } = told();
    const steps = fc.array(fc.record({ side: SIDE, route: fc.nat(1) }), { minLength: 40, maxLength: 80 });
    fc.assert(
      fc.property(steps, (order) => {
        let state = ready.state;
        const next = { source: [0, 0], destination: [0, 0] };
        const bring = (side: Side, route: number) => {
          const word = words[side][next[side][route] ?? 0];
          if (word === undefined) return;
          next[side][route] = (next[side][route] ?? 0) + 1;
          state = transition(state, word, 1n).state;
        };
        for (const { side, route } of order) bring(side, route);
        for (const side of ["source", "destination"] as const) {
          for (let left = words[side].length; left > 0; left -= 1) bring(side, 0);
        }
        state = transition(
          state,
          { t: "CommandSucceeded", side: "source", epoch: 1n, reply: { name: "releaseSource" } },
          1n,
        ).state;
        assert.equal(state.migration.phase, Phase.COMPLETED);
        const times = state.migration.instants.map((instant) => instant.atUnixUs);
        assert.equal(times.length, 11);
        assert.deepEqual(
          times,
          [...times].sort((left, right) => Number(left - right)),
        );
      }),
      { numRuns: 500 },
    );
  });
});

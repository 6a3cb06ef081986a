import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SwitchoverError } from "../../proto/error.ts";
import { Host } from "../../proto/gen/switchover/v1/host.ts";
import {
  DeadlineAction,
  InstantKind,
  Migration,
  MigrationMode,
  MigrationSpec,
  Outcome,
  Phase,
} from "../../proto/gen/switchover/v1/migration.ts";
import { Receipt, SpanKind } from "../../proto/gen/switchover/v1/receipt.ts";
import type { CommandPorts } from "../../services/switchoverctl/commands.ts";
import { Display } from "../../services/switchoverctl/display.ts";
import { explain } from "../../services/switchoverctl/explain.ts";
import { type Explanation, explainMigration } from "../../services/switchoverctl/explanation.ts";
import { explanationText } from "../../services/switchoverctl/explanation-text.ts";
import { wordOf } from "../../services/wording/words.ts";

const ID = "web-7-mk3v0q8ya1z9";
const NOW_US = 1_790_000_000_000_000n;
const SPEC = { guestId: "web-7", sourceHostId: "ha", destinationHostId: "hb", mode: MigrationMode.LIVE };
const HA = Host.create({ hostId: "ha", target: "10.0.0.1:7443", heartbeatAgeMs: 400n });
const HB = Host.create({ hostId: "hb", target: "10.0.0.2:7443", heartbeatAgeMs: 1_100n });

type Fields = Parameters<typeof Migration.create>[0];

function migrationIn(phase: Phase, fields: Fields = {}): Migration {
  return Migration.create({
    migrationId: ID,
    spec: SPEC,
    phase,
    requestedAtUnixUs: NOW_US - 20_000_000n,
    phases: [{ phase, atUnixUs: NOW_US - 12_340_000n }],
    ...fields,
  });
}

function explained(
  migration: Migration,
  hosts: { readonly source?: Host | null; readonly destination?: Host | null } = {},
): Explanation {
  const { source = HA, destination = HB } = hosts;
  return explainMigration({ migration, source, destination, receipt: null, nowUnixUs: NOW_US });
}

function instantsUpTo(...kinds: readonly InstantKind[]): Fields {
  return { instants: kinds.map((kind) => ({ kind, hostId: "", atUnixUs: NOW_US - 100_000n })) };
}

const postCopy = (trigger: NonNullable<MigrationSpec["postCopy"]>["trigger"]): Fields => ({
  spec: MigrationSpec.create({ ...SPEC, mode: MigrationMode.POST_COPY, postCopy: { trigger } }),
});

const { STOPPED, DEREGISTERED, HANDED_OFF, HAND_OFF_RECEIVED, READY, REGISTERED, CONT_SENT } = InstantKind;

/** Each phase: what is waited for, on whom, and who has to act while both agents live. */
const WAITS: readonly (readonly [Phase, Fields, RegExp, readonly string[], string])[] = [
  [Phase.PENDING, {}, /^a coordinator/, [], "nobody"],
  [
    Phase.PENDING,
    { queuePlace: { position: 3, reasonCode: "ALL_BUSY", reason: "x" } },
    /^its turn$/,
    [],
    "nobody",
  ],
  [Phase.PREPARING, {}, /preflight, then hb is made ready and ha armed/, ["ha", "hb"], "nobody"],
  [Phase.TRANSFERRING, {}, /VMM on ha to copy .*until the rest fits/, ["ha"], "nobody"],
  [Phase.TRANSFERRING, postCopy(undefined), /CPUs move at once/, ["ha"], "nobody"],
  [Phase.TRANSFERRING, postCopy({ $case: "afterPasses", value: 2 }), /move after pass 2/, ["ha"], "nobody"],
  [
    Phase.TRANSFERRING,
    postCopy({ $case: "afterMs", value: 9 }),
    /when their time has come/,
    ["ha"],
    "nobody",
  ],
  [Phase.SWITCHING_OVER, {}, /VMM on ha to stop the CPUs/, ["ha"], "nobody"],
  [Phase.SWITCHING_OVER, instantsUpTo(STOPPED), /agent on ha to deregister/, ["ha"], "nobody"],
  [
    Phase.SWITCHING_OVER,
    instantsUpTo(STOPPED, DEREGISTERED),
    /agent on ha to hand the guest off/,
    ["ha"],
    "nobody",
  ],
  [Phase.SWITCHING_OVER, instantsUpTo(HANDED_OFF), /agent on hb to receive/, ["hb"], "nobody"],
  [Phase.SWITCHING_OVER, instantsUpTo(HAND_OFF_RECEIVED), /VMM on hb to have loaded/, ["hb"], "nobody"],
  [Phase.SWITCHING_OVER, instantsUpTo(HAND_OFF_RECEIVED, READY), /agent on hb to register/, ["hb"], "nobody"],
  [Phase.SWITCHING_OVER, instantsUpTo(REGISTERED), /agent on hb to start the CPUs/, ["hb"], "nobody"],
  [Phase.SWITCHING_OVER, instantsUpTo(CONT_SENT), /VMM on hb to start the CPUs/, ["hb"], "nobody"],
  [Phase.POST_COPY, {}, /VMM on ha to send the remaining pages to hb/, ["ha", "hb"], "nobody"],
  [Phase.POST_COPY_PAUSED, { reasonCode: "PAUSED" }, /both VMMs to connect anew/, ["ha", "hb"], "nobody"],
  [Phase.POST_COPY_PAUSED, { reasonCode: "PAUSED_BY_CALLER" }, /^a caller/, [], "caller"],
  [Phase.POST_COPY_PAUSED, { reasonCode: "BREAKS_AGAIN" }, /^a caller/, [], "caller"],
  [Phase.POST_COPY_RECOVERING, {}, /both VMMs to go on/, ["ha", "hb"], "nobody"],
  [Phase.COMPLETING, {}, /agent on ha to release/, ["ha"], "nobody"],
  [Phase.CANCELLING, {}, /agent on ha to say that it keeps the guest/, ["ha", "hb"], "nobody"],
  [Phase.ROLLING_BACK, {}, /agent on ha to say that it keeps the guest/, ["ha", "hb"], "nobody"],
  [Phase.HANDING_BACK, {}, /agent on hb to say that it never started/, ["hb", "ha"], "nobody"],
  [Phase.AMBIGUOUS, { reasonCode: "SOURCE_SILENT" }, /agent on ha to answer/, ["ha"], "operator"],
  [Phase.AMBIGUOUS, { reasonCode: "DESTINATION_SILENT" }, /agent on hb to answer/, ["hb"], "operator"],
  [Phase.AMBIGUOUS, { reasonCode: "AMBIGUOUS" }, /both agents to say which/, ["ha", "hb"], "nobody"],
  [Phase.UNSPECIFIED, {}, /newer switchoverctl/, [], "nobody"],
  [99 as Phase, {}, /newer switchoverctl/, [], "nobody"],
];

describe("the explanation of a migration", () => {
  for (const [phase, fields, sentence, on, who] of WAITS) {
    it(`in ${wordOf(Phase, phase)} waits for ${String(sentence)}`, () => {
      const { wait, action, inPhaseMs } = explained(migrationIn(phase, fields));
      assert.match(wait?.sentence ?? "", sentence);
      assert.deepEqual(wait?.on, on);
      assert.equal(action.who, who);
      assert.equal(inPhaseMs, 12_340);
      assert.ok(
        action.commands.length > 0 && action.commands.every((line) => line.startsWith("switchoverctl ")),
      );
    });
  }

  it("has an answer for every phase of the contract", () => {
    const missing = Object.values(Phase).filter((phase) => {
      const isEnded = phase === Phase.COMPLETED || phase === Phase.CANCELLED || phase === Phase.FAILED;
      return !isEnded && !WAITS.some(([told]) => told === phase);
    });
    assert.deepEqual(missing, []);
    for (const phase of [Phase.COMPLETED, Phase.CANCELLED, Phase.FAILED]) {
      assert.equal(explained(migrationIn(phase)).wait, null);
    }
  });

  const endings: readonly (readonly [Phase, Outcome, string, string])[] = [
    [Phase.COMPLETED, Outcome.RUNS_ON_DESTINATION, "control plane", `switchoverctl receipt ${ID}`],
    [
      Phase.COMPLETED,
      Outcome.PAUSED_ON_DESTINATION,
      "guest's owner",
      "switchoverctl start-cpus --agent 10.0.0.2:7443 --guest web-7",
    ],
    [
      Phase.CANCELLED,
      Outcome.RUNS_ON_SOURCE,
      "nobody",
      "switchoverctl migrate --guest web-7 --from ha --to hb --dry-run",
    ],
    [
      Phase.FAILED,
      Outcome.PAUSED_ON_SOURCE,
      "guest's owner",
      "switchoverctl start-cpus --agent 10.0.0.1:7443 --guest web-7",
    ],
    [Phase.FAILED, Outcome.GUEST_LOST, "control plane", `switchoverctl receipt ${ID}`],
    [Phase.FAILED, 99 as Outcome, "nobody", `switchoverctl receipt ${ID}`],
  ];
  for (const [phase, outcome, who, next] of endings) {
    it(`that ended with "${wordOf(Outcome, outcome)}" says who acts: ${who}`, () => {
      const { action } = explained(migrationIn(phase, { outcome }));
      assert.deepEqual([action.who, action.commands[0]], [who, next]);
    });
  }

  it("asks an operator for an agent that does not live, and tells how its host is declared dead", () => {
    const action = (phase: Phase, fields: Fields = {}) =>
      explained(migrationIn(phase, fields), { destination: null }).action;
    assert.deepEqual(action(Phase.HANDING_BACK).commands, [`switchoverctl resolve ${ID} --destination-dead`]);
    assert.match(action(Phase.POST_COPY).sentence, /takes the guest with it/);
    assert.deepEqual(action(Phase.PREPARING).commands.at(-1), `switchoverctl cancel ${ID}`);
    // The source is waited for, and lives.
    assert.equal(action(Phase.COMPLETING).who, "nobody");
    const both = explained(migrationIn(Phase.AMBIGUOUS, { reasonCode: "SOURCE_SILENT" }), { source: null });
    assert.deepEqual(both.action.commands, [`switchoverctl resolve ${ID} --source-dead`]);
  });

  it("names what happens by the clock, the next one first, and nothing that is past its phase", () => {
    const spec = {
      ...SPEC,
      mode: MigrationMode.POST_COPY,
      postCopy: { trigger: { $case: "afterMs" as const, value: 15_000 } },
      deadline: { afterMs: 60_000, action: DeadlineAction.CANCEL },
    };
    const deadlines = (phase: Phase, fields: Fields) =>
      explained(migrationIn(phase, fields)).deadlines.map(({ atUnixUs, sentence }) => [
        Number(atUnixUs - NOW_US) / 1_000_000,
        sentence,
      ]);
    assert.deepEqual(deadlines(Phase.TRANSFERRING, { spec }), [
      [2.66, "the CPUs move, and pages follow"],
      [40, "it is cancelled, unless its CPUs have stopped"],
    ]);
    assert.equal(deadlines(Phase.PENDING, { spec }).length, 1);
    assert.deepEqual(
      deadlines(Phase.TRANSFERRING, {
        spec: { ...SPEC, deadline: spec.deadline },
        reasonCode: "DEADLINE_PASSED",
      }),
      [],
    );
    assert.deepEqual(deadlines(Phase.SWITCHING_OVER, { spec, ...instantsUpTo(READY) }), [
      [9.9, "the source is asked to keep the guest"],
    ]);
    assert.deepEqual(deadlines(Phase.SWITCHING_OVER, { spec, ...instantsUpTo(READY, HANDED_OFF) }), [
      [11.9, "the destination is asked whether it has the guest"],
    ]);
    assert.deepEqual(deadlines(Phase.POST_COPY, { spec }), []);
  });

  it("is a few lines for a person, with the coordinator's own words for what is wrong", () => {
    const migration = migrationIn(Phase.AMBIGUOUS, {
      reasonCode: "SOURCE_SILENT",
      reason: "Host ha does not say whether it handed the guest off.",
    });
    assert.deepEqual(explanationText(explained(migration, { source: null }), NOW_US).split("\n"), [
      `${ID}: web-7, ha -> hb, live, ambiguous for 12.3 s`,
      "  waits for  the agent on ha to answer",
      "  because    Host ha does not say whether it handed the guest off. [SOURCE_SILENT]",
      "  heard of   ha (source) not at all, hb (destination) 1.1 s ago",
      "  to act     the operator brings the agent on ha back; or states that the host is dead, once it is powered off",
      `  next       switchoverctl resolve ${ID} --source-dead`,
    ]);
  });
});

describe("switchoverctl explain", () => {
  const refusal = (reason: string) => new SwitchoverError("NOT_FOUND", "No.", { reason });

  async function run(
    migration: Migration,
    form: "text" | "json",
    hostRefusal: SwitchoverError | null = null,
  ) {
    let shown = "";
    const receipt = Receipt.create({ spans: [{ kind: SpanKind.BLACKOUT, durationUs: 4_702n }] });
    const client: Pick<CommandPorts["client"], "get" | "getHost" | "getReceipt"> = {
      get: async () => migration,
      getHost: async (hostId) => {
        if (hostId === "ha") return HA;
        throw hostRefusal ?? refusal("HOST_UNKNOWN");
      },
      getReceipt: async () => receipt,
    };
    const display = new Display({ write: (text) => (shown += text) }, form);
    const ports = { client, display } as unknown as CommandPorts;
    const exitCode = await explain(ID, ports, () => Number(NOW_US / 1_000n));
    return { exitCode, shown };
  }

  it("takes a host that no agent speaks for as not heard of", async () => {
    const { exitCode, shown } = await run(migrationIn(Phase.HANDING_BACK), "text");
    assert.equal(exitCode, 0);
    assert.match(shown, /heard of +ha \(source\) 0\.4 s ago, hb \(destination\) not at all\n/);
  });

  it("fails where it is not told whether an agent speaks for a host", async () => {
    await assert.rejects(run(migrationIn(Phase.POST_COPY), "text", refusal("NATS_UNREACHABLE")), {
      reason: "NATS_UNREACHABLE",
    });
  });

  it("says of an ended migration how it ended, and how long its CPUs stood still", async () => {
    const ended = migrationIn(Phase.COMPLETED, { outcome: Outcome.RUNS_ON_DESTINATION });
    const { exitCode, shown } = await run(ended, "text");
    assert.equal(exitCode, 0);
    assert.match(
      shown,
      /live, 12\.3 s ago: completed, guest runs on destination; its CPUs stood still 4\.702 ms\n/,
    );
  });

  it("prints one JSON object with --json", async () => {
    const queuePlace = { position: 3, reasonCode: "ALL_BUSY", reason: "x" };
    const { shown } = await run(
      migrationIn(Phase.PENDING, { queuePlace, reason: "x", reasonCode: "ALL_BUSY" }),
      "json",
    );
    assert.deepEqual(JSON.parse(shown), {
      migrationId: ID,
      phase: "PHASE_PENDING",
      sinceUnixUs: String(NOW_US - 12_340_000n),
      inPhaseMs: 12_340,
      outcome: "OUTCOME_UNSPECIFIED",
      waitsFor: "its turn",
      waitsOnHosts: [],
      reason: "x",
      reasonCode: "ALL_BUSY",
      queuePosition: 3,
      deadlines: [],
      hosts: [
        { hostId: "ha", role: "source", heartbeatAgeMs: 400 },
        { hostId: "hb", role: "destination", heartbeatAgeMs: null },
      ],
      toAct: "nobody",
      action: "",
      next: [`switchoverctl watch ${ID}`],
    });
  });
});

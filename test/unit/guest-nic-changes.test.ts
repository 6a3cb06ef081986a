import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { NicDefinition } from "../../agent/device/nic-definition.ts";
import type { PreparedNic } from "../../agent/device/nic-preparation.ts";
import type { Guest, GuestNic } from "../../agent/guest/guest.ts";
import { startsAtOnce } from "../../agent/guest/nic-changes.ts";
import { recall } from "../../agent/guest/recall.ts";
import { remember } from "../../agent/guest/remember.ts";
import { decodeJournal, encodeJournalEntry } from "../../agent/journal/journal-codec.ts";
import type { JournalWord } from "../../agent/journal/journal-entry.ts";
import { HandOffRoute } from "../../proto/gen/switchover/v1/feed.ts";
import type { NicName } from "../../proto/gen/switchover/v1/guest.ts";
import type { InstanceId } from "../../proto/ids.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";
import { compareNics } from "../../proto/nic-names.ts";
import {
  type Answer,
  armedGuest,
  DESTINATION,
  FENCE,
  GUEST,
  handOff,
  incomingGuest,
  last,
  MIGRATION,
  play,
  residentGuest,
  SOURCE,
} from "./guest-gate.ts";

const NET0 = guestNic(0);
const NET1 = guestNic(1);
const COMPLETED = { kind: "transferStatusChanged", status: "completed" } as const;
const READY = { kind: "runStateRead", purpose: "readiness", runState: "paused" } as const;
const REGISTERED = { kind: "nicsRegistered", sentAtUnixUs: 1 } as const;

function guestNic(index: number, delivery: GuestNic["delivery"] = "withCpus"): GuestNic {
  return { nicId: `net${index}`, macAddress: parseMacAddress(`52:54:00:00:00:0${index}`, ""), delivery };
}

function nameOf({ nicId, macAddress }: GuestNic): NicName {
  return { nicId, macAddress };
}

function definitionOf({ nicId, macAddress }: GuestNic): NicDefinition {
  return { type: "unmanaged", nicId, macAddress, kind: "user" };
}

function preparedOf({ nicId }: GuestNic): PreparedNic {
  return { nicId, deviceName: "", ifindex: 0, ownership: { device: "existing", port: "existing" } };
}

function attached(nic: GuestNic) {
  return { kind: "nicAttached", nic: definitionOf(nic), prepared: preparedOf(nic) } as const;
}

function word(nics: readonly GuestNic[] | undefined) {
  const named = nics === undefined ? {} : { nics: { nics: nics.map(nameOf) } };
  return { kind: "handOffReceived", handOff: handOff(named), route: HandOffRoute.NATS } as const;
}

function withNics(guest: Guest, ...nics: readonly GuestNic[]): Guest {
  return { ...guest, nics };
}

function withheldBy({ operations }: Answer): readonly string[] | undefined {
  return operations.flatMap((operation) => (operation.kind === "withholdNics" ? [operation.nicIds] : []))[0];
}

function journaledBy({ operations }: Answer): readonly JournalWord[] {
  return operations.flatMap((operation) => (operation.kind === "journal" ? [operation.word] : []));
}

function deliveriesOf({ nics }: Guest): string[] {
  return nics.map(({ nicId, delivery }) => `${nicId} ${delivery}`);
}

describe("a NIC that is attached to a guest", () => {
  it("starts at once where the others are registered, and at no other time", () => {
    const starts = (guest: Guest) => startsAtOnce(play(guest, attached(NET1))[0].guest, "net1");
    const running = residentGuest("running");
    assert.equal(starts(running), true);
    assert.equal(starts(residentGuest("paused")), false);
    assert.equal(starts({ ...running, registrationFailures: 1 }), false);
    assert.equal(starts(armedGuest("live", "completed")), false);
    assert.equal(starts(incomingGuest("live")), false);
  });

  it("is journaled before it is told", () => {
    const [answer] = play(withNics(residentGuest("running"), NET0), attached(NET1));
    assert.deepEqual(answer.done, ["journal nicAttached", "withholdNics"]);
    assert.deepEqual(answer.told, ["nicAttached"]);
    assert.deepEqual(deliveriesOf(answer.guest), ["net0 withCpus", "net1 withCpus"]);
  });

  it("waits where that is armed, and is registered once the guest is kept", () => {
    const answers = play(
      withNics({ ...armedGuest("live", "completed"), registration: "registered" }, NET0),
      attached(NET1),
      { kind: "transferStatusChanged", status: "cancelled" },
    );
    assert.deepEqual(deliveriesOf(answers[0].guest), ["net0 withCpus", "net1 waits"]);
    assert.deepEqual(withheldBy(answers[0]), ["net1"]);
    assert.deepEqual(last(answers).done, ["withholdNics", "journal kept", "mendNics"]);
    assert.deepEqual(withheldBy(last(answers)), []);
    assert.deepEqual(deliveriesOf(last(answers).guest), ["net0 withCpus", "net1 withCpus"]);
  });

  it("waits for the CPUs where the kept guest stands", () => {
    const answers = play(withNics(armedGuest("live", "completed", "paused"), NET0), attached(NET1), {
      kind: "transferStatusChanged",
      status: "failed",
    });
    assert.deepEqual(last(answers).done, ["withholdNics", "journal kept"]);
  });
});

describe("a source's word", () => {
  const given = (guest: Guest) =>
    last(play(guest, COMPLETED)).operations.flatMap((operation) =>
      operation.kind === "publishHandOff" ? [operation.handOff.nics?.nics] : [],
    );

  it("names the NICs that the guest has, also one that waits, and none that was withheld or detached", () => {
    const armed = armedGuest("live", "completed", "paused");
    const guest = withNics(armed, NET0, guestNic(1, "waits"), guestNic(2, "withheld"), guestNic(3));
    const detached = play(guest, { kind: "nicDetached", nicId: "net3" })[0];
    assert.deepEqual(detached.done, ["journal nicDetached", "withholdNics"]);
    assert.deepEqual(detached.told, ["nicDetached"]);
    assert.deepEqual(given(detached.guest), [[nameOf(NET0), nameOf(NET1)]]);
  });

  it("says of a guest without NICs that it has none", () => {
    assert.deepEqual(given(armedGuest("live", "completed", "paused")), [[]]);
  });
});

describe("a destination that gets the word", () => {
  const incoming = withNics(incomingGuest("live"), NET0, NET1);

  it("does what it always does where both have the same NICs", () => {
    const answers = play(incoming, COMPLETED, READY, word([NET1, NET0]), REGISTERED);
    assert.deepEqual(answers[2]?.done, ["registerNics"]);
    assert.deepEqual(answers[2]?.told, ["handOffReceived"]);
    assert.deepEqual(journaledBy(last(answers)), [{ kind: "contSent", fence: FENCE }]);
  });

  it("withholds a NIC that the source has not, before it registers, and journals that with the start", () => {
    const answers = play(incoming, COMPLETED, READY, word([NET0]), REGISTERED);
    assert.deepEqual(answers[2]?.done, ["withholdNics", "registerNics"]);
    assert.deepEqual(answers[2]?.told, ["handOffReceived", "alarm NIC_SETS_DIFFER"]);
    assert.deepEqual(answers[2] && withheldBy(answers[2]), ["net1"]);
    assert.deepEqual(journaledBy(last(answers)), [
      { kind: "contSent", fence: FENCE, withheldNicIds: ["net1"] },
    ]);
  });

  it("takes the same id with another address for another NIC", () => {
    const other = { ...NET1, macAddress: guestNic(7).macAddress };
    const [answer] = play(incoming, word([NET0, other]));
    assert.deepEqual(withheldBy(answer), ["net1"]);
    assert.deepEqual(answer.told, ["handOffReceived", "alarm NIC_SETS_DIFFER"]);
  });

  it("only says it where the source has one more", () => {
    const [answer] = play(incoming, word([NET0, NET1, guestNic(2)]));
    assert.equal(withheldBy(answer), undefined);
    assert.deepEqual(answer.told, ["handOffReceived", "alarm NIC_SETS_DIFFER"]);
  });

  it("registers all that it has by the word of an older agent, which names none", () => {
    const [answer] = play(incoming, word(undefined));
    assert.equal(withheldBy(answer), undefined);
    assert.deepEqual(answer.told, ["handOffReceived"]);
  });

  it("withholds also what is attached after the word that does not name it", () => {
    const answers = play(withNics(incomingGuest("live"), NET0), word([NET0]), attached(NET1));
    assert.deepEqual(deliveriesOf(last(answers).guest), ["net0 withCpus", "net1 withheld"]);
    assert.deepEqual(last(answers).told, ["alarm NIC_SETS_DIFFER", "nicAttached"]);
    const named = play(withNics(incomingGuest("live"), NET0), word([NET0, NET1]), attached(NET1));
    assert.deepEqual(deliveriesOf(last(named).guest), ["net0 withCpus", "net1 withCpus"]);
    assert.deepEqual(last(named).told, ["nicAttached"]);
  });

  it("journals what is withheld also of a guest that it takes over stopped", () => {
    const paused = word([NET0]);
    const answers = play(incoming, COMPLETED, READY, {
      ...paused,
      handOff: { ...paused.handOff, runState: "paused" },
    });
    assert.deepEqual(journaledBy(last(answers)), [
      { kind: "takenOverPaused", fence: FENCE, withheldNicIds: ["net1"] },
    ]);
  });
});

describe("the NICs that a journal remembers", () => {
  const INSTANCE = "a1" as InstanceId;
  const FIRST: JournalWord = {
    kind: "nicsPrepared",
    nics: [definitionOf(NET0)],
    prepared: [preparedOf(NET0)],
  };
  const MORE: JournalWord = { kind: "nicAttached", nic: definitionOf(NET1), prepared: preparedOf(NET1) };
  const ARMED: JournalWord = {
    kind: "armed",
    fence: FENCE,
    migrationId: MIGRATION,
    destinationHostId: DESTINATION,
    mode: "live",
    pointOfNoReturn: "completed",
    runState: "running",
  };
  const KEPT: JournalWord = { kind: "kept", fence: FENCE, runState: "running", cpus: "running" };
  const CLAIMED: JournalWord = {
    kind: "prepared",
    fence: FENCE,
    migrationId: MIGRATION,
    sourceHostId: SOURCE,
    mode: "live",
    bootId: "boot-1",
  };
  const STARTED_WITHOUT: JournalWord = { kind: "contSent", fence: FENCE, withheldNicIds: ["net1"] };

  function recalled(...words: readonly JournalWord[]): readonly string[] {
    const adopted: JournalWord = { kind: "adopted", qmpPath: "/run/web/qmp" };
    const text = [FIRST, adopted, ...words]
      .map((said, atUnixUs) => encodeJournalEntry({ atUnixUs, instanceId: INSTANCE, word: said }))
      .join("");
    const [memory] = remember(decodeJournal(text).entries);
    assert.ok(memory);
    assert.deepEqual(
      memory.prepared.map(({ nicId }) => nicId),
      memory.nics.map(({ nicId }) => nicId),
    );
    const found = {
      vmm: "connected",
      runState: "running",
      running: true,
      transferStatus: "none",
      nics: "unread",
    } as const;
    const { guest, operations } = recall(
      GUEST,
      SOURCE,
      "boot-1",
      memory,
      FENCE,
      found,
      5_000,
      () => false,
      [],
    ).adopted;
    const withheld = operations.flatMap((op) => (op.kind === "withholdNics" ? op.nicIds : []));
    if (withheld.length > 0) assert.equal(operations[0]?.kind, "withholdNics");
    return [...deliveriesOf(guest), ...withheld.map((nicId) => `without ${nicId}`)];
  }

  it("are the first ones, with those that were attached and without those that were detached", () => {
    assert.deepEqual(recalled(), ["net0 withCpus"]);
    assert.deepEqual(recalled(MORE), ["net0 withCpus", "net1 withCpus"]);
    assert.deepEqual(recalled(MORE, { kind: "nicDetached", nicId: "net0" }), ["net1 withCpus"]);
    assert.deepEqual(recalled({ kind: "nicDetached", nicId: "net0" }), []);
  });

  it("wait on where they were attached to an armed guest that has not been kept since", () => {
    assert.deepEqual(recalled(ARMED, MORE), ["net0 withCpus", "net1 waits", "without net1"]);
    assert.deepEqual(recalled(ARMED, MORE, KEPT), ["net0 withCpus", "net1 withCpus"]);
    assert.deepEqual(recalled(MORE, ARMED), ["net0 withCpus", "net1 withCpus"]);
  });

  it("are withheld on where the guest came without them, until they are detached", () => {
    assert.deepEqual(recalled(MORE, CLAIMED, STARTED_WITHOUT), [
      "net0 withCpus",
      "net1 withheld",
      "without net1",
    ]);
    const detached: JournalWord = { kind: "nicDetached", nicId: "net1" };
    assert.deepEqual(recalled(MORE, CLAIMED, STARTED_WITHOUT, detached, MORE), [
      "net0 withCpus",
      "net1 withCpus",
    ]);
  });
});

describe("two hosts' NICs of one guest", () => {
  it("agree in any order, and differ by id and by address", () => {
    const [a, b] = [nameOf(NET0), nameOf(NET1)];
    const moved = { ...b, macAddress: "52:54:00:00:00:09" };
    assert.deepEqual(compareNics([a, b], [b, a]), { onlyHere: [], onlyThere: [] });
    assert.deepEqual(compareNics([], []), { onlyHere: [], onlyThere: [] });
    assert.deepEqual(compareNics([a, b], [a]), { onlyHere: [b], onlyThere: [] });
    assert.deepEqual(compareNics([a, b], [a, moved]), { onlyHere: [b], onlyThere: [moved] });
  });
});

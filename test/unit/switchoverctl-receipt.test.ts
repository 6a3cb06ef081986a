import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { receiptOf } from "../../coordinator/inventory/receipt.ts";
import { newMigrationState, withFacts, withMigration } from "../../coordinator/migration/complete-state.ts";
import {
  type ClockOffset,
  type Instant,
  InstantKind,
  Outcome,
  Phase,
} from "../../proto/gen/switchover/v1/migration.ts";
import { renderReceipt } from "../../services/switchoverctl/receipt-text.ts";
import { MIGRATION_ID, specOf } from "./coordinator-story.ts";

const T0 = 1_795_456_900_000_000n;

function at(kind: InstantKind, hostId: string, atUs: bigint, more: Partial<Instant> = {}): Instant {
  return { kind, hostId, atUnixUs: T0 + atUs, round: 0, nicId: "", ...more };
}

const requestedBy = {
  peer: "ipv4:10.0.0.9:51234",
  userAgent: "grpc-node-js/1.14.7",
  identity: "",
  drainId: "",
};

/** The destination's clock is ahead by 2 ms. */
function receiptText(clockOffset?: ClockOffset): string {
  const begun = newMigrationState(MIGRATION_ID, "r1", specOf(), { epoch: 3n, revision: 9n }, T0, {
    requestedBy,
  });
  const state = withMigration(begun, {
    phase: Phase.COMPLETED,
    outcome: Outcome.RUNS_ON_DESTINATION,
    instants: [
      at(InstantKind.STOPPED, "ha", 0n),
      at(InstantKind.DEREGISTERED, "ha", 400n),
      at(InstantKind.HANDED_OFF, "ha", 2_300n),
      at(InstantKind.HAND_OFF_RECEIVED, "hb", 4_900n),
      at(InstantKind.REGISTRATION_SENT, "hb", 5_000n),
      at(InstantKind.REGISTERED, "hb", 5_300n),
      at(InstantKind.RESUMED, "hb", 6_400n),
      at(InstantKind.ANNOUNCED, "hb", 6_900n, { round: 1 }),
      at(InstantKind.FIRST_FRAME, "hb", 8_000n, { nicId: "net0" }),
      at(InstantKind.ANNOUNCED, "hb", 56_900n, { round: 2 }),
    ],
    nics: [
      {
        nicId: "net0",
        macAddress: "52:54:00:00:00:01",
        sourceDevice: "tap_on_bridge",
        destinationDevice: "macvtap",
      },
    ],
    clockOffset,
  });
  const kind = {
    command: "armSource",
    hostId: "ha",
    code: "UNAVAILABLE",
    reason: "UNREACHABLE",
    attempts: 3,
  };
  return renderReceipt(receiptOf(withFacts(state, { retries: [kind] })));
}

describe("a receipt for a person", () => {
  it("has who asked, two lanes by one clock, the windows with their error, each NIC and what was tried again", () => {
    const measuredAtUnixUs = T0 - 10_000_000n;
    const text = receiptText({ destinationAheadUs: 2_000n, errorUs: 150n, measuredAtUnixUs, roundTrips: 4 });
    assert.match(text, /^asked by +ipv4:10\.0\.0\.9:51234 \(grpc-node-js\/1\.14\.7\)$/m);
    assert.match(text, /^epoch +3$/m);
    const lanes = text.slice(text.indexOf("        ms |"), text.indexOf("SWITCHOVER"));
    assert.equal(
      lanes.trimEnd(),
      [
        "        ms | ha (source)              | hb (destination)",
        "-----------+--------------------------+-------------------------",
        "     0.000 | STOP                     |",
        "     0.400 | deregistered             |",
        "     2.300 | handed off ------------> |",
        "     2.900 |                          | hand-off received",
        "     3.000 |                          | registrations sent",
        "     3.300 |                          | registered, read back",
        "     4.400 |                          | RESUME",
        "     4.900 |                          | announced",
        "     6.000 |                          | first frame (net0)",
        "    54.900 |                          | announced (2)",
      ].join("\n"),
    );
    assert.match(text, /^MAC on neither host +2\.900 +both hosts' clocks, \+-0\.300 ms$/m);
    assert.match(text, /^MAC on both hosts +0\.000 +both hosts' clocks, \+-0\.300 ms$/m);
    assert.match(
      text,
      /^net0 +52:54:00:00:00:01 +tap_on_bridge +macvtap +on neither host 2\.900 ms, on both 0\.000 ms, silent 6\.000 ms$/m,
    );
    assert.match(text, /^armSource +ha +3 +UNAVAILABLE \/ UNREACHABLE$/m);
    assert.match(
      text,
      /^The destination's clock was 2\.000 ms ahead of the source's, \+-0\.150 ms \(4 round trips to each host\)\.\nThe destination's times are moved by -2\.000 ms\.$/m,
    );
  });

  it("leaves times as they are, and claims no error, where the clocks were not compared", () => {
    const text = receiptText();
    assert.match(text, /^ +6\.400 \| +\| RESUME$/m);
    assert.match(text, /^MAC on neither host +4\.900 +both hosts' clocks$/m);
    assert.doesNotMatch(text, /clock was|moved by/);
  });
});

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  parseTrace,
  parseTraceparent,
  parseTracestate,
  traceOfMigration,
} from "../../proto/trace-context.ts";

const MIGRATION = "web-7-mk3v0q8ya1z9";
const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const GIVEN = `00-${TRACE}-00f067aa0ba902b7-01`;
/** `printf web-7-mk3v0q8ya1z9 | sha256sum`, so that whoever wants to can follow the documents. */
const OWN = { traceId: "8b26b5857675161ffd108a41c098c315", spanId: "bd01c799ea380821" };

describe("a traceparent", () => {
  const WRONG: readonly (readonly [string, string | undefined])[] = [
    ["nothing", undefined],
    ["an empty text", ""],
    ["a version that is none", GIVEN.replace("00-", "ff-")],
    ["capital letters", GIVEN.toUpperCase()],
    ["a trace id of zeros", GIVEN.replace(TRACE, "0".repeat(32))],
    ["a parent id of zeros", GIVEN.replace("00f067aa0ba902b7", "0".repeat(16))],
    ["a short trace id", GIVEN.replace(TRACE, TRACE.slice(1))],
    ["more than level 1 has, under level 1's version", `${GIVEN}-more`],
    ["a later version with more that is not set off", `${GIVEN.replace("00-", "01-")}more`],
    ["a space around it", ` ${GIVEN}`],
  ];
  for (const [what, text] of WRONG) {
    it(`is not read from ${what}`, () => assert.equal(parseTraceparent(text), null));
  }

  it("is read, and tells whether its trace is sampled", () => {
    assert.deepEqual(parseTraceparent(GIVEN), { traceId: TRACE, sampled: "yes" });
    assert.deepEqual(parseTraceparent(GIVEN.replace(/01$/, "02")), { traceId: TRACE, sampled: "no" });
    assert.deepEqual(parseTraceparent(GIVEN.replace(/01$/, "03")), { traceId: TRACE, sampled: "yes" });
  });

  it("of a later version is read as far as level 1 knows it", () => {
    const later = `${GIVEN.replace(/^00/, "cc")}-what-will-be`;
    assert.deepEqual(parseTraceparent(later), { traceId: TRACE, sampled: "yes" });
  });
});

describe("a migration's trace", () => {
  it("follows from its id where its caller gave none", () => {
    assert.deepEqual(traceOfMigration(MIGRATION), {
      traceId: OWN.traceId,
      traceparent: `00-${OWN.traceId}-${OWN.spanId}-01`,
    });
    assert.notEqual(traceOfMigration("web-7-mk3v0q8ya1za").traceId, OWN.traceId);
  });

  it("is its caller's, with a span of its own and the caller's word on sampling", () => {
    assert.deepEqual(traceOfMigration(MIGRATION, { traceparent: GIVEN }), {
      traceId: TRACE,
      traceparent: `00-${TRACE}-${OWN.spanId}-01`,
    });
    const unsampled = traceOfMigration(MIGRATION, { traceparent: GIVEN.replace(/01$/, "00") });
    assert.equal(unsampled.traceparent, `00-${TRACE}-${OWN.spanId}-00`);
  });

  it("is the same for whoever was given what another one passed on", () => {
    const passedOn = traceOfMigration(MIGRATION, { traceparent: GIVEN });
    assert.deepEqual(traceOfMigration(MIGRATION, passedOn), passedOn);
    const own = traceOfMigration(MIGRATION);
    assert.deepEqual(traceOfMigration(MIGRATION, own), own);
  });

  it("is that of its id where what was given is malformed", () => {
    assert.deepEqual(traceOfMigration(MIGRATION, { traceparent: "00-xyz" }), traceOfMigration(MIGRATION));
  });
});

describe("a tracestate", () => {
  const MEMBERS = Array.from({ length: 32 }, (_, index) => `k${index}=v`);

  it("is taken as it is where W3C's rules and limits allow it", () => {
    for (const text of [
      "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
      "fw529a3039@dt=FfB6c1b2:1 ,\ta/b_c-d*e=x y",
      "a=1,,b=2",
      MEMBERS.join(","),
      `a=${"x".repeat(256)},b=${"x".repeat(251)}`,
    ]) {
      assert.equal(parseTracestate(text), text);
    }
  });

  it("is dropped as a whole where it is malformed or too long", () => {
    for (const text of [
      "",
      " , ",
      "no value",
      "a=1,a=2",
      "A=1",
      "1a=1",
      "a=1=2",
      "a=",
      "a=\u00e9",
      "a=x\ny",
      `a=${"x".repeat(257)}`,
      [...MEMBERS, "more=v"].join(","),
      `a=${"x".repeat(256)},b=${"x".repeat(252)}`,
    ]) {
      assert.equal(parseTracestate(text), null, JSON.stringify(text));
    }
  });

  it("comes with its traceparent, unchanged, and not without one", () => {
    const given = { traceparent: GIVEN, tracestate: "rojo=1,congo=2" };
    assert.equal(traceOfMigration(MIGRATION, given).tracestate, given.tracestate);
    assert.deepEqual(parseTrace(GIVEN, given.tracestate), given);
    assert.equal(parseTrace("00-xyz", given.tracestate), undefined);
    assert.ok(!("tracestate" in traceOfMigration(MIGRATION, { tracestate: given.tracestate })));
    assert.deepEqual(parseTrace(GIVEN, "Not One"), { traceparent: GIVEN });
  });
});

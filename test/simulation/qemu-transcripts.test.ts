import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import {
  type RecordedLine,
  replayTranscript,
  type Said,
  type TranscriptSide,
  wordsOf,
} from "./model/replay-transcript.ts";

/** Timing decides what comes first where two of QEMU's threads race; one of so many seeds must hit it. */
const SEEDS = 400;

/** Both sides' lines in the order of time, from the first command after the negotiation on. */
function read(name: string): RecordedLine[] {
  const lines = (["source", "destination"] as const).flatMap((side) => readSide(name, side));
  return lines.sort((left, right) => left.atUnixUs - right.atUnixUs);
}

function readSide(name: string, side: TranscriptSide): RecordedLine[] {
  // Compiled tests run from dist, fixtures stay in the source tree.
  const file = new URL(`../../../test/unit/fixtures/qmp-transcripts/${name}-${side}.jsonl`, import.meta.url);
  const lines = readFileSync(file, "utf8")
    .trimEnd()
    .split("\n")
    .map((line): RecordedLine => ({ side, ...JSON.parse(line) }));
  const negotiated = lines.findIndex(({ direction }) => direction === "answer");
  return lines.slice(negotiated + 1);
}

function canSay(lines: readonly RecordedLine[], recorded: Said): boolean {
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const said = replayTranscript(lines, seed);
    if (JSON.stringify(said) === JSON.stringify(recorded)) return true;
  }
  return false;
}

describe("the simulated QEMU", () => {
  for (const name of [
    "live",
    "post-copy",
    "cancelled-before-stop",
    "cancelled-after-stop",
    "post-copy-cancelled",
    "post-copy-recovered",
  ]) {
    it(`says what QEMU 7.2 said, in its order: ${name}`, () => {
      const lines = read(name);
      const recorded = wordsOf(lines);
      if (!canSay(lines, recorded)) assert.deepEqual(replayTranscript(lines, 1), recorded);
    });
  }

  it("says what QEMU 7.2 said when its destination was killed before STOP", () => {
    const recordedLines = read("destination-killed-before-stop");
    const active = recordedLines.findIndex(
      ({ side, message }) => side === "source" && message.data?.status === "active",
    );
    const killed: RecordedLine = {
      side: "destination",
      atUnixUs: recordedLines[active]?.atUnixUs ?? 0,
      direction: "killed",
      message: {},
    };
    const lines = recordedLines.toSpliced(active + 1, 0, killed);
    const recorded = wordsOf(lines);
    if (!canSay(lines, recorded)) assert.deepEqual(replayTranscript(lines, 1), recorded);
  });

  it("is told apart from one that says COMPLETED before STOP", () => {
    const lines = read("live");
    const { source, destination } = wordsOf(lines);
    const wrong = source.with(source.indexOf("STOP"), "COMPLETED").with(source.indexOf("COMPLETED"), "STOP");
    assert.equal(canSay(lines, { source: wrong, destination }), false);
  });
});

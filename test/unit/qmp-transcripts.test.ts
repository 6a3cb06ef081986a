import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { type MigrationProgress, parseMigrationProgress } from "../../agent/vmm/migration-progress.ts";
import { parseQmpLine, type QmpMessage } from "../../agent/vmm/qmp-codec.ts";
import { toVmmEvent } from "../../agent/vmm/vmm-event.ts";

type TranscriptName = "live-source" | "live-destination" | "post-copy-source" | "post-copy-destination";

interface Replay {
  /** Events and answers in the order in which QEMU wrote them, one word each. */
  readonly words: readonly string[];
  readonly progress: readonly MigrationProgress[];
}

/** Feeds what was recorded from QEMU 7.2 to the codec and the event mapping. */
function replay(name: TranscriptName): Replay {
  // Compiled tests run from dist, fixtures stay in the source tree.
  const file = new URL(`../../../test/unit/fixtures/qmp-transcripts/${name}.jsonl`, import.meta.url);
  const words: string[] = [];
  const progress: MigrationProgress[] = [];
  const asked = new Map<number, string>();
  for (const line of readFileSync(file, "utf8").trimEnd().split("\n")) {
    const { direction, message, atUnixUs } = JSON.parse(line);
    if (direction === "command") asked.set(message.id, message.execute);
    else {
      const parsed = parseQmpLine(JSON.stringify(message));
      assert.equal(direction, parsed.kind === "return" || parsed.kind === "error" ? "answer" : parsed.kind);
      const command = parsed.kind === "return" ? asked.get(parsed.id ?? 0) : undefined;
      if (parsed.kind === "return" && command === "query-migrate")
        progress.push(parseMigrationProgress(parsed.value));
      words.push(wordFor(parsed, command, atUnixUs));
    }
  }
  return { words, progress };
}

function wordFor(message: QmpMessage, command: string | undefined, receivedAtUnixUs: number): string {
  switch (message.kind) {
    case "greeting":
      return "greeting";
    case "error":
      return `refused: ${message.desc}`;
    case "return": {
      const { status } = Object(message.value);
      return status === undefined ? `${command}` : `${command}: ${status}`;
    }
    case "event": {
      const { name, data, atUnixUs } = message;
      assert.ok(atUnixUs !== undefined && atUnixUs <= receivedAtUnixUs, "QEMU's time precedes the receipt");
      const event = toVmmEvent({ name, data, atUnixUs, receivedAtUnixUs });
      assert.notEqual(event.kind, "other", `${name} is not known`);
      if (event.kind === "migrationPassed") return `pass ${event.pass}`;
      return event.kind === "migrationStatusChanged" ? event.status.toUpperCase() : event.kind.toUpperCase();
    }
  }
}

function after(words: readonly string[], word: string): readonly string[] {
  return words.slice(words.indexOf(word) + 1);
}

describe("a recorded live migration", () => {
  it("stops the source's CPUs before the source says completed", () => {
    assert.deepEqual(
      replay("live-source").words.filter((word) => /^[A-Z]/.test(word)),
      ["SETUP", "ACTIVE", "STOP", "COMPLETED"],
    );
  });

  it("leaves the source in postmigrate", () => {
    assert.equal(replay("live-source").words.includes("query-status: postmigrate"), true);
  });

  it("completes on the destination without starting it, and cont does", () => {
    const { words } = replay("live-destination");
    assert.deepEqual(after(words, "COMPLETED"), [
      "query-status: paused",
      "RESUME",
      "cont",
      "query-status: running",
      "query-migrate: completed",
    ]);
    assert.equal(words.includes("STOP"), false);
  });

  it("shows how much was moved, in how many passes and with what downtime", () => {
    const last = replay("live-source").progress.at(-1);
    assert.equal(last?.status, "completed");
    assert.equal(last?.totalBytes, 67_641_344);
    assert.equal(last?.transferredBytes, 715_599);
    assert.deepEqual([last?.remainingBytes, last?.passes, last?.downtimeMs, last?.setupMs], [0, 2, 1, 1]);
    assert.equal(last?.errorDesc, undefined);
  });

  it("tells where the destination listens, and no status yet", () => {
    const [first] = replay("live-destination").progress;
    assert.equal(first?.status, "none");
    assert.deepEqual(first?.addresses, [{ kind: "inet", host: "127.0.0.1", port: 45_675 }]);
  });
});

describe("a recorded post-copy migration", () => {
  it("says postcopy-active at the source before the CPUs stop there", () => {
    assert.deepEqual(
      replay("post-copy-source").words.filter((word) => /^[A-Z]/.test(word)),
      ["SETUP", "ACTIVE", "POSTCOPY-ACTIVE", "STOP", "COMPLETED"],
    );
  });

  it("is answered postcopy-active twice by a source that was asked after its stop", () => {
    assert.deepEqual(after(replay("post-copy-source").words, "STOP").slice(0, 3), [
      "pass 2",
      "query-migrate: postcopy-active",
      "query-migrate: postcopy-active",
    ]);
  });

  it("lets the destination run long before it completes", () => {
    assert.deepEqual(after(replay("post-copy-destination").words, "POSTCOPY-ACTIVE"), [
      "query-status: paused",
      "RESUME",
      "cont",
      "COMPLETED",
      "query-status: running",
      "query-migrate: completed",
    ]);
  });
});

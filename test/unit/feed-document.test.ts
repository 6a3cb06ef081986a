import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { describe, it } from "node:test";
import { Ajv, type ValidateFunction } from "ajv";
import { parse } from "yaml";
import { type EventCase, readFeedContract } from "../feed/feed-contract.ts";
import { DOCUMENT_COMMAND } from "../feed/feed-document.ts";
import { FEED_DOCUMENT_FILE, feedDocumentText } from "../feed/feed-document-file.ts";
import { repositoryRoot } from "../lab/repository-root.ts";
import { type FeedDocument, messageValidator } from "./feed-document-validator.ts";

const text = readFileSync(FEED_DOCUMENT_FILE, "utf8");
const document = parse(text) as FeedDocument;
/** Every case that the generated code knows: one that is missing here, or too much, does not compile. */
const CASES: Readonly<Record<EventCase, true>> = {
  phaseChanged: true,
  transferProgressed: true,
  transferStatusChanged: true,
  cpusStopped: true,
  nicsDeregistered: true,
  handedOff: true,
  handOffReceived: true,
  handOffAwaited: true,
  destinationReady: true,
  nicsRegistered: true,
  cpusStarted: true,
  takenOverPaused: true,
  announced: true,
  alarmRaised: true,
  vmmLost: true,
  kept: true,
  handedBack: true,
  sourceResumed: true,
  transferStalled: true,
  registrationDrifted: true,
  registrationMended: true,
  nicAttached: true,
  nicDetached: true,
  stopExplained: true,
  vmmReported: true,
};

describe("docs/feed.asyncapi.yaml", () => {
  it(`is what the contract and its subjects say (${DOCUMENT_COMMAND} writes it anew)`, () => {
    assert.equal(text, feedDocumentText());
  });

  it("is an AsyncAPI 3.0 document", () => {
    const schema = createRequire(import.meta.url)("@asyncapi/specs/schemas/3.0.0-without-$id.json") as object;
    const validate = new Ajv({ strict: false, validateFormats: false }).compile(schema);
    assert.ok(validate(document), JSON.stringify(validate.errors, null, 2));
  });

  it("has a message for every event, in its channels and as it is called in the body, and none for any other", () => {
    const names = Object.keys(CASES).sort();
    assert.deepEqual(Object.keys(document.components.messages).sort(), names);
    const { guestEvents, migrationEvents, migrationPhases } = document.channels;
    assert.deepEqual(
      Object.keys({ ...migrationPhases?.messages, ...migrationEvents?.messages }).sort(),
      names,
    );
    assert.deepEqual(guestEvents?.messages, migrationEvents?.messages);
  });

  it("has an operation for each channel", () => {
    const told = Object.values(document.operations).map(({ channel }) => channel.$ref);
    const channels = Object.keys(document.channels).map((name) => `#/channels/${name}`);
    assert.deepEqual(told.sort(), channels.sort());
  });

  it("says of every event what it means", () => {
    for (const { jsonName } of readFeedContract().cases) {
      assert.ok((document.components.messages[jsonName]?.summary ?? "").length > 10, jsonName);
    }
  });

  it("has one channel for each subject, and its schemas hold, in all that version 0.1.0 told", () => {
    const lines = readFileSync(join(repositoryRoot(), "test/unit/fixtures/stored-0.1.0/feed.jsonl"), "utf8");
    const validators = new Map<string, ValidateFunction>();
    const seen = new Set<string>();
    for (const line of lines.trimEnd().split("\n")) {
      const { body, subject } = JSON.parse(line) as { readonly subject: string; readonly body: object };
      const channels = Object.entries(document.channels).filter(([, { address }]) => isAt(address, subject));
      assert.equal(channels.length, 1, subject);
      const [[name, channel] = ["", undefined]] = channels;
      const event = Object.keys(body).find((member) => member in CASES) ?? "";
      assert.ok(event in (channel?.messages ?? {}), `${event} at ${subject}`);
      const validate = validators.get(event) ?? messageValidator(document, event, "payload");
      validators.set(event, validate);
      assert.ok(validate(body), `${line} ${JSON.stringify(validate.errors)}`);
      seen.add(name);
    }
    assert.deepEqual([...seen].sort(), Object.keys(document.channels).sort());
  });
});

/** A guest's topic is a token as a migration's is; the longer text before the parameter decides. */
function isAt(address: string, subject: string): boolean {
  if (address.includes(".{migrationId}.") && subject.includes(".guest-")) return false;
  const pattern = address.replaceAll(".", "\\.").replace(/\{\w+\}/g, "[A-Za-z0-9_-]+");
  return new RegExp(`^${pattern}$`).test(subject);
}

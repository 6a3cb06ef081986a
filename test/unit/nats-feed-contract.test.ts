/** What is really stored in the feed's stream is what docs/feed.asyncapi.yaml says of it, for every event there is. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parse } from "yaml";
import { subjectOf } from "../../agent/feed/feed-subject.ts";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { migrationIdOf } from "../../proto/ids.ts";
import { FEED_STREAM, feedMessageId } from "../../proto/subjects.ts";
import type { NatsLink } from "../../services/nats/connection.ts";
import { NatsFeedStream } from "../../services/nats/feed-stream.ts";
import { NatsPhaseFeed } from "../../services/nats/phase-feed.ts";
import { readFeedContract } from "../feed/feed-contract.ts";
import { FEED_DOCUMENT_FILE } from "../feed/feed-document-file.ts";
import { filledMessage } from "../feed/filled-message.ts";
import { type FeedDocument, messageValidator } from "./feed-document-validator.ts";
import { HA, natsBench, newGuest, WAIT_MS } from "./nats-bench.ts";

const nats = natsBench();
const document = strict(parse(readFileSync(FEED_DOCUMENT_FILE, "utf8")) as FeedDocument);
const GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/** As a test must judge, and a consumer must not: no member that the document does not name. */
function strict({ components, ...document }: FeedDocument): FeedDocument {
  const { CloudEventHeaders, FeedEvent: envelope, ...nested } = components.schemas;
  const closed = Object.entries(nested).map(([name, schema]) => [
    name,
    { ...(schema as object), ...("properties" in (schema as object) ? { additionalProperties: false } : {}) },
  ]);
  const schemas = { CloudEventHeaders, FeedEvent: envelope, ...Object.fromEntries(closed) };
  return { ...document, components: { ...components, schemas } };
}

const { cases, envelope } = readFeedContract();

/** By whoever says it in truth. */
async function publish(link: NatsLink, event: FeedEvent): Promise<string> {
  const { guestId, migrationId, sequence } = event;
  if (event.event?.$case === "phaseChanged") {
    await new NatsPhaseFeed(link).publish(event, `${migrationId}:${sequence}`);
    return `switchover.v1.feed.${migrationId}.coordinator`;
  }
  const subject = subjectOf({ guestId, migrationId }, HA);
  const messageId = feedMessageId(subject, 1n, sequence);
  const body = JSON.stringify(FeedEvent.toJSON(event));
  await new NatsFeedStream(link).append({ subject, messageId, body }, 0);
  return subject;
}

for (const { jsonName, message } of cases) {
  test(`a stored ${jsonName} has the body and the headers that the document says`, async (t) => {
    const link = await nats.openLink(t);
    const guestId = newGuest();
    const migrationId = migrationIdOf(guestId, Date.now(), 0.5);
    const said = {
      ...(filledMessage(message, envelope) as object),
      migrationId,
      guestId,
      hostId: jsonName === "phaseChanged" ? "" : HA,
      sequence: "1",
      atUnixUs: "1796067460702951",
      traceparent: GIVEN,
      tracestate: "rojo=00f067aa0ba902b7",
      [jsonName]: filledMessage(message),
    };
    const subject = await publish(link, FeedEvent.fromJSON(said));
    const { streams } = await (await link.whenReachable(WAIT_MS)).jetstreamManager();
    const stored = await streams.getMessage(FEED_STREAM, { last_by_subj: subject });
    const body = stored.json<Record<string, unknown>>();
    const { hostId, ...ofCoordinator } = said;
    assert.deepEqual(body, hostId === "" ? ofCoordinator : said);
    const validate = messageValidator(document, jsonName, "payload");
    assert.ok(validate(body), JSON.stringify(validate.errors));
    const headers = Object.fromEntries([...stored.header].map(([name, [value]]) => [name, value]));
    const validateHeaders = messageValidator(document, jsonName, "headers");
    assert.ok(validateHeaders(headers), JSON.stringify(validateHeaders.errors));
    assert.ok("ce-traceparent" in headers);
    assert.equal(headers.tracestate, said.tracestate);
    assert.equal(headers["ce-id"], headers["Nats-Msg-Id"]);
  });
}

test("a body is refused by the document for a wrong type, a wrong name and a missing event", () => {
  const validate = messageValidator(document, "announced", "payload");
  const right = { guestId: "web", sequence: "1", atUnixUs: "1", announced: { round: 1 } };
  assert.ok(validate(right));
  for (const wrong of [
    { ...right, announced: { round: "1" } },
    { ...right, announced: { rounds: 1 } },
    { ...right, sequence: 1 },
    { ...right, announced: undefined, vmmLost: {} },
  ]) {
    assert.equal(validate(JSON.parse(JSON.stringify(wrong))), false, JSON.stringify(wrong));
  }
});

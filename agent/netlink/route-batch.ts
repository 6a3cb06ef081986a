import { answerOf, encodeRequest, type RouteRequest } from "./route-request.ts";

/** More acked messages in one send than this could overflow the receive buffer, and lose acks. */
export const MAX_MESSAGES_PER_SEND = 64;

/** Up to 64 messages that go to the kernel in one send; or a single one that is answered by a dump. */
export interface RouteDatagram {
  readonly requests: readonly RouteRequest[];
  readonly bytes: Uint8Array;
  /** Where each message starts. */
  readonly offsets: readonly number[];
}

/** Requests in order; may be executed any number of times. */
export interface RouteBatch {
  readonly requests: readonly RouteRequest[];
  /** Made when first read: whoever reads them in advance has only sequence numbers written when it counts. */
  readonly datagrams: readonly RouteDatagram[];
}

/** A batch whose bytes are made when it is first sent. */
export function encodeBatch(requests: readonly RouteRequest[]): RouteBatch {
  return new LateBatch(requests);
}

/** A class, for each object literal with a getter costs V8 a hidden class of its own. */
class LateBatch implements RouteBatch {
  readonly requests: readonly RouteRequest[];
  #datagrams: readonly RouteDatagram[] | undefined;

  constructor(requests: readonly RouteRequest[]) {
    this.requests = requests;
  }

  get datagrams(): readonly RouteDatagram[] {
    this.#datagrams ??= encodeDatagrams(this.requests);
    return this.#datagrams;
  }
}

function encodeDatagrams(requests: readonly RouteRequest[]): readonly RouteDatagram[] {
  const datagrams: RouteDatagram[] = [];
  let first = 0;
  requests.forEach((request, index) => {
    const next = requests[index + 1];
    // A socket has one dump under way at a time (EBUSY), and its end comes when it is asked for by a receive.
    const isAlone = answerOf(request) === "dump" || (next !== undefined && answerOf(next) === "dump");
    if (next !== undefined && !isAlone && index + 1 - first < MAX_MESSAGES_PER_SEND) return;
    datagrams.push(encodeDatagram(requests.slice(first, index + 1)));
    first = index + 1;
  });
  return datagrams;
}

function encodeDatagram(requests: readonly RouteRequest[]): RouteDatagram {
  const messages = requests.map(encodeRequest);
  const bytes = new Uint8Array(messages.reduce((sum, message) => sum + message.length, 0));
  const offsets: number[] = [];
  let offset = 0;
  for (const message of messages) {
    bytes.set(message, offset);
    offsets.push(offset);
    offset += message.length;
  }
  return { requests, bytes, offsets };
}

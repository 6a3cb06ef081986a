/** What both ends of every channel are set to; gRPC's own defaults notice a dead peer after 20 s to hours. */
const MESSAGE_LIMIT_BYTES = 4 * 1024 * 1024;
const KEEPALIVE_TIME_MS = 5_000;
const KEEPALIVE_TIMEOUT_MS = 2_000;

/** Of each method of a service. Beyond them calls are refused with RESOURCE_EXHAUSTED / OVERLOADED. */
export interface CallLimits {
  /** Unary calls that run at a time. */
  readonly running: number;
  /** Unary calls that wait for their turn. */
  readonly waiting: number;
  /** Open streams. */
  readonly streams: number;
}

export const DEFAULT_CALL_LIMITS: CallLimits = { running: 256, waiting: 1_024, streams: 10_000 };

export const TRANSPORT_LIMITS = {
  "grpc.max_receive_message_length": MESSAGE_LIMIT_BYTES,
  "grpc.max_send_message_length": MESSAGE_LIMIT_BYTES,
  "grpc.keepalive_time_ms": KEEPALIVE_TIME_MS,
  "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
  "grpc.keepalive_permit_without_calls": 1,
  // Nobody serves what it would count, of each channel and each call.
  "grpc.enable_channelz": 0,
} as const;

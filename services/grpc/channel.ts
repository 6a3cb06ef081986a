import { Client } from "@grpc/grpc-js";
import { channelCredentials, type ExpectedPeer, type Security } from "../tls/security.ts";
import { TRANSPORT_LIMITS } from "./limits.ts";

const FIRST_BACKOFF_MS = 100;
const LAST_BACKOFF_MS = 2_000;
/**
 * A channel without calls gives its connection up after this and takes a new one with the next call. A connection costs
 * 85 kB and a ping every 5 s, and a coordinator that moves many guests has called thousands of hosts a while ago.
 */
const IDLE_TIMEOUT_MS = 10_000;

export interface ChannelOptions {
  /**
   * Full names of services whose calls are repeated on UNAVAILABLE, within their deadline. Every method of such a
   * service must be declared idempotent in its proto.
   */
  readonly retriedServices: readonly string[];
  readonly security: Security;
  /** Whom the channel may reach, by the certificate shown there; nobody else is sent anything. */
  readonly peer: ExpectedPeer;
}

/**
 * Opens a channel to `host:port` or `unix:/path`. It connects with the first call and reconnects by itself, waiting
 * 100 ms at first and 2 s at most; close it with `close()`. Throws FAILED_PRECONDITION / NOT_LOOPBACK where it would leave
 * this host without TLS.
 */
export function openChannel(target: string, options: ChannelOptions): Client {
  return new Client(target, channelCredentials(options.security, target, options.peer), {
    ...TRANSPORT_LIMITS,
    "grpc.initial_reconnect_backoff_ms": FIRST_BACKOFF_MS,
    "grpc.min_reconnect_backoff_ms": FIRST_BACKOFF_MS,
    "grpc.max_reconnect_backoff_ms": LAST_BACKOFF_MS,
    "grpc.client_idle_timeout_ms": IDLE_TIMEOUT_MS,
    // One pool a channel: closing it closes its connection, and no other channel's.
    "grpc.use_local_subchannel_pool": 1,
    // A proxy of the environment is for the outside world, not for the hosts of the cloud.
    "grpc.enable_http_proxy": 0,
    "grpc.service_config": JSON.stringify(retryPolicy(options.retriedServices)),
  });
}

function retryPolicy(services: readonly string[]): unknown {
  return {
    loadBalancingConfig: [{ pick_first: {} }],
    methodConfig: [
      {
        name: services.map((service) => ({ service })),
        retryPolicy: {
          maxAttempts: 4,
          initialBackoff: "0.1s",
          maxBackoff: "1s",
          backoffMultiplier: 2,
          retryableStatusCodes: ["UNAVAILABLE"],
        },
      },
    ],
  };
}

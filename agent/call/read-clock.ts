import type {
  ReadClockRequest,
  ReadClockResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import type { Host } from "../host.ts";

/** Reads the clock by which the agent's instants are. */
export function readClock(host: Host, _request: ReadClockRequest): ReadClockResponse {
  const { clock } = host.ports;
  const receivedAtUnixUs = BigInt(clock.unixUs());
  return { receivedAtUnixUs, answeredAtUnixUs: BigInt(clock.unixUs()) };
}

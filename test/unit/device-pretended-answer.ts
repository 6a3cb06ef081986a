import { errnoName } from "../../agent/netlink/errno.ts";
import type { RouteResult } from "../../agent/netlink/route-port.ts";

export const done: RouteResult = { ok: true, messages: [] };

export function refusal(errno: number, text = ""): RouteResult {
  return { ok: false, errno, name: errnoName(errno), text };
}

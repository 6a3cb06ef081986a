/**
 * Whether the host itself uses a parent that is to be a passthrough macvtap's alone. It is down while the guest's CPUs
 * stand, and the host's addresses and routes with it: perhaps the very way to the agent.
 */
import { type IpPrefix, ipPrefixParts } from "../../../proto/ip-prefix.ts";
import type { Link } from "../../netlink/link.ts";
import type { RouteMessage, RouteResult } from "../../netlink/route-port.ts";
import type { RouteRequest } from "../../netlink/route-request.ts";
import type { NicProblem } from "../device.ts";
import type { MacvtapNic } from "./definition.ts";

export function askHostUse({ ifindex }: Link): readonly RouteRequest[] {
  return [
    { op: "getAddresses", ifindex },
    { op: "getRoutes", ifindex, family: "ipv4" },
    { op: "getRoutes", ifindex, family: "ipv6" },
  ];
}

/** Undefined where the host does not use the parent, or was not asked whether it does. */
export function judgeHostUse(nic: MacvtapNic, answers: readonly RouteResult[]): NicProblem | undefined {
  const messages = answers.flatMap((answer) => (answer.ok ? answer.messages : []));
  const what = messages.some(isHostAddress) ? "addresses" : messages.some(isHostRoute) ? "routes" : undefined;
  if (what === undefined) return undefined;
  return {
    reason: what === "addresses" ? "PARENT_HAS_ADDRESSES" : "PARENT_HAS_ROUTES",
    sentence: `${nic.parent} has ${what} of the host, which would be cut off: in passthrough it is the guest's alone.`,
    field: "macvtap.parent",
  };
}

function isHostAddress(message: RouteMessage): boolean {
  return message.type === "address" && !isOfEveryDevice(message.address.address);
}

/** Those that the kernel makes come with an address. */
function isHostRoute(message: RouteMessage): boolean {
  return message.type === "route" && message.route.origin !== "kernel";
}

/** The kernel gives an address of fe80::/10 to every device that comes up. */
function isOfEveryDevice(address: IpPrefix): boolean {
  const { family, bytes } = ipPrefixParts(address);
  return family === "ipv6" && bytes[0] === 0xfe && ((bytes[1] ?? 0) & 0xc0) === 0x80;
}

import type { Link } from "../netlink/link.ts";
import { encodeBatch } from "../netlink/route-batch.ts";
import type { RoutePort, RouteResult } from "../netlink/route-port.ts";
import type { RouteRequest } from "../netlink/route-request.ts";
import type { SeenLinks } from "./device.ts";
import { deviceTypeOf } from "./device-types.ts";
import type { NicDefinition } from "./nic-definition.ts";

/** Looks up every link that the NICs' definitions name, in one batch. */
export function readLinks(route: RoutePort, nics: readonly NicDefinition[]): SeenLinks {
  const names = [...new Set(nics.flatMap((nic) => deviceTypeOf(nic).linkNames(nic)))];
  const results = route.execute(encodeBatch(names.map((name) => ({ op: "getLink", name }))));
  const links = new Map<string, Link>();
  for (const result of results) {
    const message = result.ok ? result.messages[0] : undefined;
    if (message?.type === "link") links.set(message.link.name, message.link);
  }
  return withPortVlans(route, nics, links);
}

function withPortVlans(
  route: RoutePort,
  nics: readonly NicDefinition[],
  links: Map<string, Link>,
): SeenLinks {
  for (const nic of nics) addPortVlans(route, links, deviceTypeOf(nic).vlanPort?.(nic, links));
  return links;
}

/** A port whose VLANs the kernel does not tell is left without. */
function addPortVlans(route: RoutePort, links: Map<string, Link>, name: string | undefined): void {
  const port = name === undefined ? undefined : links.get(name);
  if (port === undefined) return;
  try {
    const portVlans = route
      .dump({ op: "dumpPortVlans", ifindex: port.ifindex })
      .flatMap((message) =>
        message.type === "portVlans" && message.ifindex === port.ifindex ? message.vlans : [],
      );
    links.set(port.name, { ...port, portVlans });
  } catch {
    // It left its bridge since it was looked up, which what follows finds.
  }
}

/** Carries out one plan a NIC in one batch, and returns each plan's own results. */
export function executeEach(
  route: RoutePort,
  plans: readonly (readonly RouteRequest[])[],
): readonly RouteResult[][] {
  return splitByPlan(route.execute(encodeBatch(plans.flat())), plans);
}

/** Cuts the results of a batch made of `plans` back into the plans' own. */
export function splitByPlan(
  results: readonly RouteResult[],
  plans: readonly (readonly RouteRequest[])[],
): readonly RouteResult[][] {
  let end = 0;
  return plans.map((plan) => {
    const start = end;
    end += plan.length;
    return results.slice(start, end);
  });
}

/**
 * What preparing NICs depends on beside the links that their definitions name: what else stands on their parents, and what
 * the host uses those for. No question about one link tells that, only whole tables; so it is read ahead, beside what
 * counts, and what changes meanwhile the kernel refuses.
 */
import type { Link } from "../netlink/link.ts";
import { encodeBatch } from "../netlink/route-batch.ts";
import type { RouteMessage, RoutePort, RouteResult } from "../netlink/route-port.ts";
import type { RouteRequest } from "../netlink/route-request.ts";
import type { TableReader } from "../netlink/table-reader.ts";
import type { SeenLinks } from "./device.ts";
import { deviceTypeOf } from "./device-types.ts";
import type { NicDefinition } from "./nic-definition.ts";
import { executeEach, readLinks } from "./nic-requests.ts";
import type { DeviceFactory, Inherited } from "./tap-creation.ts";

export interface HostSurvey {
  /** Links that stand on others; missing where no NIC does. */
  readonly stacked?: readonly Link[];
  /** By NIC, the answers to what its type asks. */
  readonly answers: ReadonlyMap<string, readonly RouteResult[]>;
  /** What devices have that are made from now on; undefined where that is not known. */
  readonly inherited?: Inherited | undefined;
}

/** Without its factory nobody tells what devices will have that it makes. */
export interface SurveyedHost {
  readonly route: RoutePort;
  readonly factory?: DeviceFactory;
}

/** At once, which takes as long as the host has links, and routes. Throws as `RoutePort.execute` and `dump` do. */
export function surveyHost({ route, factory }: SurveyedHost, nics: readonly NicDefinition[]): HostSurvey {
  const stacked = standOnOthers(nics) ? { stacked: stackedOf(route.dump({ op: "dumpLinks" })) } : {};
  const answers = executeEach(route, questionsOf(route, nics));
  return { ...stacked, answers: byNic(nics, answers), inherited: factory?.inherited?.() };
}

/** The same, with the tables read in another thread. Throws as `TableReader.read` does too. */
export async function surveyHostAside(
  { route, factory }: SurveyedHost,
  tables: TableReader,
  nics: readonly NicDefinition[],
): Promise<HostSurvey> {
  const stacked = standOnOthers(nics) ? { stacked: stackedOf(await tables.read({ op: "dumpLinks" })) } : {};
  const answers: RouteResult[][] = [];
  for (const requests of questionsOf(route, nics)) {
    const ofNic: RouteResult[] = [];
    for (const request of requests) ofNic.push(await answerTo(route, tables, request));
    answers.push(ofNic);
  }
  return { ...stacked, answers: byNic(nics, answers), inherited: factory?.inherited?.() };
}

/** The links that the NICs' definitions name, as they are now, among those of a survey. */
export function withStacked(
  nics: readonly NicDefinition[],
  named: SeenLinks,
  stacked: readonly Link[] = [],
): SeenLinks {
  const names = new Set(nics.flatMap((nic) => deviceTypeOf(nic).linkNames(nic)));
  return new Map([
    ...stacked.filter(({ name }) => !names.has(name)).map((link) => [link.name, link] as const),
    ...named,
  ]);
}

/** The links of a dump. */
export function linksOf(messages: readonly RouteMessage[]): readonly Link[] {
  return messages.flatMap((message) => (message.type === "link" ? [message.link] : []));
}

function stackedOf(messages: readonly RouteMessage[]): readonly Link[] {
  return linksOf(messages).filter(({ parentIfindex }) => parentIfindex !== undefined);
}

function standOnOthers(nics: readonly NicDefinition[]): boolean {
  return nics.some((nic) => deviceTypeOf(nic).stands === "onAnother");
}

function questionsOf(route: RoutePort, nics: readonly NicDefinition[]): readonly (readonly RouteRequest[])[] {
  const links = readLinks(route, nics);
  return nics.map((nic) => deviceTypeOf(nic).prepare.ask?.(nic, links) ?? []);
}

async function answerTo(route: RoutePort, tables: TableReader, request: RouteRequest): Promise<RouteResult> {
  if (request.op === "getAddresses" || request.op === "getRoutes") {
    return { ok: true, messages: await tables.read(request) };
  }
  const [result] = route.execute(encodeBatch([request]));
  return result ?? { ok: true, messages: [] };
}

function byNic(
  nics: readonly NicDefinition[],
  answers: readonly (readonly RouteResult[])[],
): ReadonlyMap<string, readonly RouteResult[]> {
  return new Map(nics.map(({ nicId }, index) => [nicId, answers[index] ?? []]));
}

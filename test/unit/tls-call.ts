/** A server of both services behind mTLS, which answers every call it lets in, and channels with any certificate. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { Client, credentials, type MethodDefinition, type ServiceDefinition } from "@grpc/grpc-js";
import { SwitchoverError } from "../../proto/error.ts";
import { HostAgentServiceService } from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { MigrationServiceService } from "../../proto/gen/switchover/v1/migration_service.ts";
import { openChannel } from "../../services/grpc/channel.ts";
import { type GrpcServer, type ServiceBinding, startGrpcServer } from "../../services/grpc/server.ts";
import { callServerStream, serveServerStream } from "../../services/grpc/server-stream.ts";
import { callUnary, serveUnary } from "../../services/grpc/unary.ts";
import type { Log } from "../../services/log/log.ts";
import type { CertificatePaths } from "../../services/tls/certificates.ts";
import type { Role } from "../../services/tls/roles.ts";
import type { ExpectedPeer, Security } from "../../services/tls/security.ts";
import { closeSecurity } from "../../services/tls/tls-settings.ts";
import { TrialPki } from "../trial-pki.ts";
import { newFolder } from "./program-process.ts";

export type Line = Readonly<Record<string, unknown>> & { readonly msg: string };

export interface RecordedLog {
  readonly log: Log;
  readonly lines: Line[];
  /** The first line that holds, those that were written before included; rejects where none comes in time. */
  line(holds: (line: Line) => boolean): Promise<Line>;
}

const LOGGED_WITHIN_MS = 20_000;

export function recordLog(): RecordedLog {
  const lines: Line[] = [];
  const waiting = new Set<() => void>();
  const write = (fields: Readonly<Record<string, unknown>>, msg: string): void => {
    lines.push({ ...fields, msg });
    for (const look of waiting) look();
  };
  const line = (holds: (line: Line) => boolean): Promise<Line> =>
    new Promise((resolve, reject) => {
      const late = setTimeout(
        () => reject(new Error(`Not logged: ${JSON.stringify(lines)}`)),
        LOGGED_WITHIN_MS,
      );
      const look = (): void => {
        const found = lines.find(holds);
        if (found === undefined) return;
        clearTimeout(late);
        waiting.delete(look);
        resolve(found);
      };
      waiting.add(look);
      look();
    });
  return { log: { debug: write, info: write, warn: write, error: write }, lines, line };
}

const ending = new AbortController();

/** Each method answers with nothing; each stream ends at once. */
function answering(name: string, definition: ServiceDefinition, log: Log): ServiceBinding {
  const handlers = Object.entries(definition).map(([method, { responseStream, responseDeserialize }]) => [
    method,
    responseStream
      ? serveServerStream(method, log, ending.signal, async function* () {})
      : serveUnary(method, log, async () => responseDeserialize(Buffer.alloc(0))),
  ]);
  return { name, definition, implementation: Object.fromEntries(handlers) };
}

export const SERVICES = {
  migrations: { name: "switchover.v1.MigrationService", definition: MigrationServiceService },
  host: { name: "switchover.v1.HostAgentService", definition: HostAgentServiceService },
} as const;

export interface TlsGround {
  readonly pki: TrialPki;
  readonly server: GrpcServer;
  readonly target: string;
  readonly recorded: RecordedLog;
  /** Connections that TLS refused. */
  readonly refusals: string[];
  /** Of the server, to be reread. */
  readonly security: Extract<Security, { readonly t: "tls" }>;
  /** A channel with a certificate of this role, closed at the test's end. */
  channel(role: Role, name?: string, peer?: ExpectedPeer): Promise<Client>;
}

export const SERVER_PEER: ExpectedPeer = { roles: ["agent"], name: "ha" };

/** The server has the certificate of host ha's agent. */
export async function openTlsGround(t: TestContext, target = "127.0.0.1:0"): Promise<TlsGround> {
  const pki = await TrialPki.make(join(await newFolder(t), "pki"));
  const recorded = recordLog();
  const refusals: string[] = [];
  const security = await pki.security("agent", "ha");
  const { log } = recorded;
  const server = await startGrpcServer({
    targets: [target],
    services: Object.values(SERVICES).map(({ name, definition }) => answering(name, definition, log)),
    log,
    security,
    onConnectionRefused: (reason) => refusals.push(reason),
  });
  const bound = server.targets[0] ?? "";
  t.after(async () => {
    await server.close(100);
    closeSecurity(security);
  });
  return {
    pki,
    server,
    target: bound,
    recorded,
    refusals,
    security,
    channel: async (role, name = "test", peer = SERVER_PEER) => {
      const own = await pki.security(role, name);
      const client = openChannel(bound, { retriedServices: [], security: own, peer });
      t.after(() => {
        client.close();
        closeSecurity(own);
      });
      return client;
    },
  };
}

/** A channel as somebody else's program may open it: with any certificate, and to whomever. */
export function openUnchecked(t: TestContext, target: string, { cert, key, ca }: CertificatePaths): Client {
  const [caText, keyText, certText] = [ca, key, cert].map((path) => readFileSync(path));
  const verify = { checkServerIdentity: () => undefined };
  const secured = credentials.createSsl(caText, keyText, certText, verify);
  const client = new Client(target, secured, { "grpc.ssl_target_name_override": "switchover.test" });
  t.after(() => client.close());
  return client;
}

/** What comes of a call: OK, or the refusal. */
export async function outcomeOf(client: Client, method: MethodDefinition<never, unknown>): Promise<string> {
  const { requestDeserialize } = method;
  const request = requestDeserialize(Buffer.alloc(0));
  try {
    if (method.responseStream) {
      for await (const _ of callServerStream(client, method, request));
    } else await callUnary(client, method, request, { timeoutMs: 5_000 });
    return "OK";
  } catch (thrown) {
    const { code, reason } = SwitchoverError.from(thrown);
    return `${code} ${reason}`;
  }
}

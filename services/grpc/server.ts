import { unlink } from "node:fs/promises";
import { connect } from "node:net";
import {
  logVerbosity,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  setLogVerbosity,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { ReflectionService } from "@grpc/reflection";
import { HealthImplementation } from "grpc-health-check";
import { SwitchoverError } from "../../proto/error.ts";
import type { Log } from "../log/log.ts";
import { ADMIT_ALL, type AdmitCall, admitByRole } from "../tls/admit-call.ts";
import type { Certificates } from "../tls/certificates.ts";
import { isLoopback } from "../tls/loopback.ts";
import type { Security } from "../tls/security.ts";
import { listenWithTls, type TlsListener } from "../tls/tls-listener.ts";
import { type CallMeter, NO_CALL_METER } from "./call-meter.ts";
import { readDescribedContract } from "./described-contract.ts";
import { limitCalls } from "./limit-calls.ts";
import { type CallLimits, DEFAULT_CALL_LIMITS, TRANSPORT_LIMITS } from "./limits.ts";

/** One service of a program. */
export interface ServiceBinding {
  /** Full name, as health checks ask for it ("switchover.v1.MigrationService"). */
  readonly name: string;
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
  /** Default: DEFAULT_CALL_LIMITS. */
  readonly limits?: CallLimits;
}

export interface GrpcServerOptions {
  /** `host:port` (port 0: any free one) or `unix:/path`; at least one. */
  readonly targets: readonly string[];
  readonly services: readonly ServiceBinding[];
  readonly log: Log;
  readonly security: Security;
  /** Default: nobody counts. */
  readonly meter?: CallMeter;
  /** Counts connections that TLS refused, by reason; default: nobody does. */
  readonly onConnectionRefused?: (reason: string) => void;
}

/** A server that listens. */
export interface GrpcServer {
  /** The targets it listens on, with the ports that were picked. */
  readonly targets: readonly string[];
  /** Says NOT_SERVING, lets running calls end for up to `graceMs`, then ends them. Idempotent. */
  close(graceMs: number): Promise<void>;
}

/**
 * Listens on all targets and serves the services, health (grpc.health.v1) and reflection: with TLS to whoever has a
 * certificate, and the services to whose role may call them; without it to this host alone. All or nothing: throws
 * UNAVAILABLE / CANNOT_LISTEN naming the target, and FAILED_PRECONDITION / NOT_LOOPBACK. A socket file left by a killed
 * program is replaced.
 */
export async function startGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  // Its lines are not this program's log; what matters of them arrives as errors.
  setLogVerbosity(logVerbosity.NONE);
  const server = new Server(TRANSPORT_LIMITS);
  const { log, security, meter = NO_CALL_METER } = options;
  const admitting =
    security.t === "plaintext"
      ? ADMIT_ALL
      : admitByRole(security.certificates.current.identity.trustDomain, log);
  for (const { name, definition, implementation, limits = DEFAULT_CALL_LIMITS } of options.services) {
    const admit = (method: string): AdmitCall => admitting(name, method);
    server.addService(definition, limitCalls(definition, implementation, limits, log, meter, admit));
  }
  const names = options.services.map((service) => service.name);
  const health = new HealthImplementation(
    Object.fromEntries(["", ...names].map((name) => [name, "SERVING"])),
  );
  health.addToServer(server);
  new ReflectionService(readDescribedContract(), { services: names }).addToServer(server);
  const targets: string[] = [];
  const listeners: TlsListener[] = [];
  try {
    for (const target of options.targets) {
      if (security.t === "plaintext") targets.push(await listen(server, target));
      else {
        const listener = await listenWithCertificates(server, target, security.certificates, options);
        listeners.push(listener);
        targets.push(withPort(target, listener.port));
      }
    }
  } catch (thrown) {
    for (const listener of listeners) listener.close();
    server.forceShutdown();
    throw thrown;
  }
  let closed: Promise<void> | undefined;
  return {
    targets,
    close: (graceMs) => {
      for (const name of ["", ...names]) health.setStatus(name, "NOT_SERVING");
      for (const listener of listeners) listener.close();
      closed ??= shutDown(server, graceMs, options.log);
      return closed;
    },
  };
}

async function listen(server: Server, target: string): Promise<string> {
  if (!isLoopback(target)) {
    const sentence = `${target} is not on this host alone, and nothing else is served without TLS.`;
    throw new SwitchoverError("FAILED_PRECONDITION", sentence, {
      reason: "NOT_LOOPBACK",
      metadata: { target },
    });
  }
  if (target.startsWith(UNIX)) await removeStaleSocket(target.slice(UNIX.length));
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(target, ServerCredentials.createInsecure(), (error, boundPort) => {
      if (error === null) resolve(boundPort);
      else reject(cannotListen(target, error));
    });
  });
  return withPort(target, port);
}

/** The connections that TLS lets in are the server's as those of its own listeners. */
async function listenWithCertificates(
  server: Server,
  target: string,
  certificates: Certificates,
  { log, onConnectionRefused = () => {} }: GrpcServerOptions,
): Promise<TlsListener> {
  const path = target.startsWith(UNIX) ? target.slice(UNIX.length) : undefined;
  if (path !== undefined) await removeStaleSocket(path);
  const { injectConnection } = server.createConnectionInjector(ServerCredentials.createInsecure());
  const [, host = "", port] = /^(.*):(\d+)$/.exec(target) ?? [];
  try {
    return await listenWithTls(
      path === undefined ? { host: host.replace(/^\[|\]$/g, ""), port: Number(port) } : { path },
      { certificates, log, accept: injectConnection, refused: onConnectionRefused },
    );
  } catch (thrown) {
    throw cannotListen(target, thrown);
  }
}

function cannotListen(target: string, cause: unknown): SwitchoverError {
  const { message } = SwitchoverError.from(cause);
  return new SwitchoverError("UNAVAILABLE", `Cannot listen on ${target}: ${message}.`, {
    reason: "CANNOT_LISTEN",
    metadata: { target },
    cause,
  });
}

const UNIX = "unix:";

function withPort(target: string, port: number | undefined): string {
  return target.startsWith(UNIX) ? target : target.replace(/:\d+$/, `:${port}`);
}

/** A unix socket outlives a killed program and would refuse the next one; one that answers is left alone. */
async function removeStaleSocket(path: string): Promise<void> {
  const stale = await new Promise<boolean>((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(false);
    });
    probe.once("error", (error: NodeJS.ErrnoException) => resolve(error.code === "ECONNREFUSED"));
  });
  if (stale) await unlink(path);
}

function shutDown(server: Server, graceMs: number, log: Log): Promise<void> {
  return new Promise((resolve) => {
    const force = setTimeout(() => {
      log.warn({ grace_ms: graceMs }, "Calls were still running at shutdown and are ended now.");
      server.forceShutdown();
      resolve();
    }, graceMs);
    server.tryShutdown((error) => {
      clearTimeout(force);
      if (error !== undefined) server.forceShutdown();
      resolve();
    });
  });
}

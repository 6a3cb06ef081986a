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
  /** Default: nobody counts. */
  readonly meter?: CallMeter;
}

/** A server that listens. */
export interface GrpcServer {
  /** The targets it listens on, with the ports that were picked. */
  readonly targets: readonly string[];
  /** Says NOT_SERVING, lets running calls end for up to `graceMs`, then ends them. Idempotent. */
  close(graceMs: number): Promise<void>;
}

/**
 * Listens on all targets and serves the services, health (grpc.health.v1) and reflection. All or nothing: throws
 * UNAVAILABLE / CANNOT_LISTEN naming the target. A socket file left by a killed program is replaced.
 */
export async function startGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  // Its lines are not this program's log; what matters of them arrives as errors.
  setLogVerbosity(logVerbosity.NONE);
  const server = new Server(TRANSPORT_LIMITS);
  const { log, meter = NO_CALL_METER } = options;
  for (const { definition, implementation, limits = DEFAULT_CALL_LIMITS } of options.services) {
    server.addService(definition, limitCalls(definition, implementation, limits, log, meter));
  }
  const names = options.services.map((service) => service.name);
  const health = new HealthImplementation(
    Object.fromEntries(["", ...names].map((name) => [name, "SERVING"])),
  );
  health.addToServer(server);
  new ReflectionService(readDescribedContract(), { services: names }).addToServer(server);
  const targets: string[] = [];
  try {
    for (const target of options.targets) targets.push(await listen(server, target));
  } catch (thrown) {
    server.forceShutdown();
    throw thrown;
  }
  let closed: Promise<void> | undefined;
  return {
    targets,
    close: (graceMs) => {
      for (const name of ["", ...names]) health.setStatus(name, "NOT_SERVING");
      closed ??= shutDown(server, graceMs, options.log);
      return closed;
    },
  };
}

async function listen(server: Server, target: string): Promise<string> {
  if (target.startsWith("unix:")) await removeStaleSocket(target.slice("unix:".length));
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(target, ServerCredentials.createInsecure(), (error, boundPort) => {
      if (error === null) return resolve(boundPort);
      reject(
        new SwitchoverError("UNAVAILABLE", `Cannot listen on ${target}: ${error.message}.`, {
          reason: "CANNOT_LISTEN",
          metadata: { target },
          cause: error,
        }),
      );
    });
  });
  return target.startsWith("unix:") ? target : target.replace(/:\d+$/, `:${port}`);
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

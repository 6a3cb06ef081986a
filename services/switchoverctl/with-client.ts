import type { Client } from "@grpc/grpc-js";
import { SwitchoverError } from "../../proto/error.ts";
import { parseTrace } from "../../proto/trace-context.ts";
import { openChannel } from "../grpc/channel.ts";
import type { Log } from "../log/log.ts";
import { NatsLink } from "../nats/connection.ts";
import type { Security } from "../tls/security.ts";
import { closeSecurity, openSecurity, type TlsValues } from "../tls/tls-settings.ts";
import { AgentClient } from "./agent-client.ts";
import type { CommandPorts } from "./commands.ts";
import { confirm } from "./confirm.ts";
import { CoordinatorClient, WATCH_UNREACHABLE_S } from "./coordinator-client.ts";
import { Display } from "./display.ts";
import { EXIT_CODES, exitCodeOfError } from "./exit-code.ts";
import type { CommonValues } from "./settings.ts";

/** The exit code of a command that asks somebody; what it throws is told on stderr. */
export async function withCoordinator(
  values: CommonValues & TlsValues,
  run: (ports: CommandPorts) => Promise<number>,
): Promise<number> {
  const leaving = new AbortController();
  process.once("SIGINT", () => leaving.abort());
  const display = new Display(process.stdout, values.json === "on" ? "json" : "text");
  const complain = (sentence: string): void => {
    display.leaveLine();
    process.stderr.write(`switchoverctl: ${sentence}\n`);
  };
  const onSilence = (error: SwitchoverError): void =>
    complain(silence(values.coordinator, error, `, trying on for ${WATCH_UNREACHABLE_S} s`));
  try {
    const { TRACEPARENT, TRACESTATE } = process.env;
    const trace = parseTrace(TRACEPARENT, TRACESTATE);
    return await withSecurity(
      values,
      (security) => new CoordinatorClient(values.coordinator, security, onSilence),
      (client) => run({ client, display, trace, signal: leaving.signal, confirm: confirmAtTerminal }),
    );
  } catch (thrown) {
    const error = SwitchoverError.from(thrown);
    if (leaving.signal.aborted) {
      complain(GONE);
      return EXIT_CODES.left;
    }
    const exitCode = exitCodeOfError(error);
    complain(exitCode === EXIT_CODES.unreachable ? silence(values.coordinator, error, "") : wordsOf(error));
    return exitCode;
  }
}

/** Asks the agent itself: no coordinator takes part. */
export async function withAgent(
  values: { readonly agent: string } & TlsValues,
  run: (client: AgentClient) => Promise<number>,
): Promise<number> {
  try {
    return await withSecurity(values, (security) => new AgentClient(values.agent, security), run);
  } catch (thrown) {
    return complainOfSilence(thrown, `no agent answers at ${values.agent}`);
  }
}

/** Asks any server as it describes itself. */
export async function withServer(
  target: string,
  values: TlsValues,
  run: (client: Client, signal: AbortSignal) => Promise<number>,
): Promise<number> {
  const leaving = new AbortController();
  process.once("SIGINT", () => leaving.abort());
  const peer = { roles: ["coordinator", "agent"] } as const;
  try {
    return await withSecurity(
      values,
      (security) => openChannel(target, { retriedServices: [], security, peer }),
      (client) => run(client, leaving.signal),
    );
  } catch (thrown) {
    if (leaving.signal.aborted) {
      process.stderr.write(`switchoverctl: ${GONE}\n`);
      return EXIT_CODES.left;
    }
    return complainOfSilence(thrown, `nobody answers at ${target}`);
  }
}

/** What a person or a script may be; agents and coordinators have certificates for other things. */
const OWN_ROLES = { roles: ["operator", "control-plane", "observer"] } as const;

async function withSecurity<Channel extends { close(): void }>(
  values: TlsValues,
  open: (security: Security) => Channel,
  run: (channel: Channel) => Promise<number>,
): Promise<number> {
  const security = openSecurity(values, OWN_ROLES, SILENT);
  try {
    const channel = open(security);
    try {
      return await run(channel);
    } finally {
      channel.close();
    }
  } finally {
    closeSecurity(security);
  }
}

/** Asks NATS itself: no coordinator takes part, and none needs to live. */
export async function withNats(url: string, run: (link: NatsLink) => Promise<number>): Promise<number> {
  const link = NatsLink.open({ url, name: "switchoverctl", log: SILENT });
  try {
    await link.whenReachable(NATS_REACHED_WITHIN_MS);
    return await run(link);
  } catch (thrown) {
    const error = SwitchoverError.from(thrown);
    process.stderr.write(`switchoverctl: ${wordsOf(error)}\n`);
    return exitCodeOfError(error);
  } finally {
    await link.close();
  }
}

const GONE = "no longer watching; what was asked for goes on.";
const NATS_REACHED_WITHIN_MS = 5_000;
/** What matters of the link arrives as errors. */
const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} };

export function confirmAtTerminal(statement: string): Promise<boolean> {
  return confirm(statement, process.stdin, process.stderr);
}

/** The called side may itself answer that it waits, or has not restored its guests yet: that is no silence. */
function complainOfSilence(thrown: unknown, silence: string): number {
  const error = SwitchoverError.from(thrown);
  const exitCode = exitCodeOfError(error);
  const isSilent = exitCode === EXIT_CODES.unreachable && error.reason.startsWith("GRPC_");
  process.stderr.write(`switchoverctl: ${isSilent ? `${silence}: ` : ""}${wordsOf(error)}\n`);
  return exitCode;
}

function silence(target: string, error: SwitchoverError, also: string): string {
  return `no coordinator answers at ${target}${also}: ${wordsOf(error)}`;
}

function wordsOf({ message, code, reason, field }: SwitchoverError): string {
  return `${message} [${[code, reason, ...(field === undefined ? [] : [field])].join(", ")}]`;
}

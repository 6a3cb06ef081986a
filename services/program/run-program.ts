import { type ErrorCode, SwitchoverError } from "../../proto/error.ts";
import { readConfigFile } from "../config/config-file.ts";
import { PROGRAM_SETTINGS } from "../config/program-settings.ts";
import { type Fault, readSettings, type Settings, type Values } from "../config/read-settings.ts";
import { faultsText, type UsageText, usage } from "../config/usage.ts";
import type { Log, LogLevel } from "../log/log.ts";
import { openLogger } from "../log/logger.ts";
import { withoutCredentials } from "../log/without-credentials.ts";
import { readVersion } from "./version.ts";

/**
 * The life of a server program: configuration, log, start, signals, end. Exit codes: 0 after SIGTERM or SIGINT or
 * --help or --check-config, 1 when it could not start or an error went unhandled, 2 for a wrong configuration.
 */
const SHUTDOWN_LIMIT_MS = 4_500;
const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
/** With a field: what a flag names cannot be had, or is somebody else's. */
const FAULTS_OF_A_FLAG: ReadonlySet<ErrorCode> = new Set(["FAILED_PRECONDITION", "INVALID_ARGUMENT"]);

/** What runs until it is closed. */
export interface Running {
  close(): Promise<void>;
}

export interface Program<S extends Settings> {
  readonly name: string;
  readonly settings: S & { readonly "log-level": Settings[string] };
  readonly usage: UsageText;
  /** Faults that show only when values are seen together. */
  readonly check: (values: Values<S>) => readonly Fault[];
  /** The host that the log's lines speak for. */
  readonly hostOf: (values: Values<S>) => string | undefined;
  /**
   * INVALID_ARGUMENT and FAILED_PRECONDITION with a field are told like any other wrong flag. Once `stop` aborts nobody
   * waits for more than the end of what was begun, which is to be its rejection.
   */
  readonly start: (values: Values<S>, log: Log, stop: AbortSignal) => Promise<Running>;
}

/** Runs the program in this process until a signal ends it. */
export async function runProgram<S extends Settings>(program: Program<S>): Promise<void> {
  const settings = { ...program.settings, ...PROGRAM_SETTINGS };
  const readFile = (path: string) => readConfigFile(path, program.settings);
  const reading = readSettings(settings, process.argv.slice(2), process.env, 0, readFile);
  if (reading.t === "help") {
    process.stdout.write(usage(program.usage, settings));
    return;
  }
  const faults = reading.t === "faults" ? reading.faults : program.check(reading.values);
  if (reading.t === "faults" || faults.length > 0) {
    process.stderr.write(faultsText(program.name, faults));
    process.exitCode = EXIT_USAGE;
    return;
  }
  if (reading.values["check-config"] === "on") {
    process.stdout.write(`${JSON.stringify(printable(reading.values), null, 2)}\n`);
    return;
  }
  await runStarted(program, reading.values);
}

async function runStarted<S extends Settings>(program: Program<S>, values: Values<S>): Promise<void> {
  const host = program.hostOf(values);
  const { log, flush } = openLogger({
    service: program.name,
    level: values["log-level"] as LogLevel,
    ...(host === undefined ? {} : { host }),
  });
  const exit = (code: number): void => {
    flush();
    process.exit(code);
  };
  const fail = (thrown: unknown): void => {
    log.error({ err: thrown }, `${program.name} ends: an error went unhandled.`);
    exit(EXIT_FAILED);
  };
  process.on("uncaughtException", fail);
  process.on("unhandledRejection", fail);
  const stop = stopAtSignal((signal) => {
    log.info({ signal }, `${program.name} ends.`);
    setTimeout(() => {
      log.warn({ limit_ms: SHUTDOWN_LIMIT_MS }, "Not everything was closed in time.");
      exit(0);
    }, SHUTDOWN_LIMIT_MS);
  });
  log.info({ version: readVersion(), configuration: printable(values) }, `${program.name} starts.`);
  let running: Running;
  try {
    running = await program.start(values, log, stop);
  } catch (thrown) {
    if (stop.aborted) return exit(0);
    const error = SwitchoverError.from(thrown);
    if (FAULTS_OF_A_FLAG.has(error.code) && error.field !== undefined) {
      flush();
      process.stderr.write(faultsText(program.name, [{ name: error.field, sentence: error.message }]));
      return exit(EXIT_USAGE);
    }
    log.error({ err: thrown }, `${program.name} cannot start: ${error.message}`);
    return exit(EXIT_FAILED);
  }
  await aborted(stop);
  await running.close();
  exit(0);
}

/** Aborts at the first SIGTERM or SIGINT, during the start too. */
function stopAtSignal(onSignal: (signal: NodeJS.Signals) => void): AbortSignal {
  const stopping = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (stopping.signal.aborted) return;
      onSignal(signal);
      const sentence = `The program was told to end by ${signal}.`;
      stopping.abort(new SwitchoverError("CANCELLED", sentence, { reason: "ENDING" }));
    });
  }
  return stopping.signal;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

function printable(values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const text = JSON.stringify(values, (_, value: unknown) => {
    if (typeof value === "bigint") return String(value);
    return typeof value === "string" ? withoutCredentials(value) : value;
  });
  return JSON.parse(text) as Record<string, unknown>;
}

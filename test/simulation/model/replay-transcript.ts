import { toVmmEvent, type VmmEventBody } from "../../../agent/vmm/vmm-event.ts";
import { Random } from "../engine/random.ts";
import { Timeline } from "../engine/timeline.ts";
import { SimulatedGuest } from "./guest.ts";
import { type IncomingPorts, Qemu, type QemuAnswer, type QemuCommand } from "./qemu.ts";

export type TranscriptSide = "source" | "destination";

/** One line of a recorded monitor, of either side. */
export interface RecordedLine {
  readonly side: TranscriptSide;
  readonly atUnixUs: number;
  /** `killed`: not recorded by QEMU, but by what was done to it. */
  readonly direction: "command" | "answer" | "event" | "killed";
  readonly message: {
    readonly id?: number;
    readonly execute?: string;
    readonly "exec-oob"?: string;
    readonly arguments?: Readonly<Record<string, unknown>>;
    readonly event?: string;
    readonly data?: Readonly<Record<string, unknown>>;
    readonly return?: unknown;
    readonly error?: unknown;
  };
}

/** What both monitors said, one word each, in order. */
export type Said = Readonly<Record<TranscriptSide, readonly string[]>>;

/** What a recorded migration said. */
export function wordsOf(lines: readonly RecordedLine[]): Said {
  const said: Record<TranscriptSide, string[]> = { source: [], destination: [] };
  const asked = new Map<string, string>();
  for (const { side, direction, message } of lines) {
    if (direction === "command") asked.set(`${side} ${message.id}`, commandOf(message));
    else if (direction === "answer") {
      const command = asked.get(`${side} ${message.id}`) ?? "?";
      said[side].push(
        message.error === undefined ? `${command}${statusIn(command, message.return)}` : `${command} refused`,
      );
    } else if (direction === "event") {
      const { event: name = "", data = {} } = message;
      said[side].push(wordOfEvent(toVmmEvent({ name, data, atUnixUs: 0, receivedAtUnixUs: 0 })));
    }
  }
  return said;
}

/** Longer than anything recorded takes. */
const PATIENCE_US = 5_000_000;

/**
 * Feeds a transcript's commands to two simulated QEMUs, each as long after what was said before it as it came then, and
 * returns what they said. Ends early where they do not say what the next command waited for.
 */
export function replayTranscript(lines: readonly RecordedLine[], seed: number): Said {
  const timeline = new Timeline(new Random(seed, 1));
  const guest = new SimulatedGuest("recorded", []);
  const ports = new Map<number, Qemu>();
  const shared = {
    version: "7.2" as const,
    timeline,
    random: new Random(seed, 2),
    guest,
    ports: portsOf(ports),
    ...paceOf(lines),
  };
  const qemus = {
    source: new Qemu({ ...shared, name: "source" }, "boot"),
    destination: new Qemu({ ...shared, name: "destination" }, "incoming"),
  };
  guest.qemus.push(qemus.source, qemus.destination);
  qemus.source.execute({ name: "cont" }, () => {});
  const said: Record<TranscriptSide, string[]> = { source: [], destination: [] };
  for (const side of ["source", "destination"] as const) {
    qemus[side].onEvent = (event) => said[side].push(wordOfEvent(event));
  }
  const expected = { source: 0, destination: 0 };
  let lastAtUnixUs = lines[0]?.atUnixUs ?? 0;
  const waitFor = (isOver: () => boolean, untilUs: number) => {
    while (!isOver() && timeline.step(untilUs) === "happened");
  };
  const portRecorded = recordedPort(lines);
  for (const { side, atUnixUs, direction, message } of lines) {
    const passedUs = atUnixUs - lastAtUnixUs;
    lastAtUnixUs = atUnixUs;
    if (direction === "answer" || direction === "event") {
      expected[side] += 1;
      continue;
    }
    const isSaid = () =>
      said.source.length >= expected.source && said.destination.length >= expected.destination;
    waitFor(isSaid, timeline.nowUs + PATIENCE_US);
    if (!isSaid()) return said;
    waitFor(() => false, timeline.nowUs + passedUs);
    if (direction === "killed") {
      qemus[side].kill();
      continue;
    }
    const name = commandOf(message);
    const command = toCommand(name, message.arguments ?? {}, portRecorded);
    const done = (answer: QemuAnswer) =>
      said[side].push(
        answer.kind === "refused" ? `${name} refused` : `${name}${statusIn(name, toReturn(answer))}`,
      );
    qemus[side].execute(command, done);
  }
  const isOver = () =>
    said.source.length >= expected.source && said.destination.length >= expected.destination;
  waitFor(isOver, timeline.nowUs + PATIENCE_US);
  waitFor(() => false, timeline.nowUs + 20_000);
  return said;
}

function wordOfEvent(event: VmmEventBody): string {
  if (event.kind === "migrationPassed") return `pass ${event.pass}`;
  return event.kind === "migrationStatusChanged" ? event.statusText.toUpperCase() : event.kind.toUpperCase();
}

function commandOf(message: RecordedLine["message"]): string {
  return message.execute ?? message["exec-oob"] ?? "?";
}

function statusIn(command: string, value: unknown): string {
  if (!command.startsWith("query-")) return "";
  const { status } = (value ?? {}) as { readonly status?: unknown };
  return `: ${typeof status === "string" ? status : "none"}`;
}

function toReturn(answer: QemuAnswer): unknown {
  if (answer.kind === "refused" || answer.value === undefined) return {};
  return "runState" in answer.value ? { status: answer.value.runState } : answer.value;
}

/** QEMU numbers the ports of the recording; the simulated one's are those. */
function toCommand(name: string, args: Readonly<Record<string, unknown>>, port: number): QemuCommand {
  const capabilities = args.capabilities as
    | readonly { readonly capability: string; readonly state: boolean }[]
    | undefined;
  const uri = typeof args.uri === "string" ? args.uri.replace(/:0$/, `:${port}`) : undefined;
  return {
    name,
    ...(uri !== undefined && { uri }),
    ...(args.resume === true && { resume: true }),
    ...(capabilities !== undefined && {
      capabilities: capabilities.map(({ capability, state }) => ({ capability, enabled: state })),
    }),
  };
}

function recordedPort(lines: readonly RecordedLine[]): number {
  for (const { message } of lines) {
    const { uri } = message.arguments ?? {};
    if (message.execute === "migrate" && typeof uri === "string") return Number(uri.split(":").at(-1));
  }
  return 1;
}

function portsOf(ports: Map<number, Qemu>): IncomingPorts {
  return {
    listen: (qemu, port) => {
      ports.set(port, qemu);
      return port;
    },
    find: (port) => ports.get(port),
  };
}

/** How long the copy, and the pages of post-copy, took then; where they were broken off, longer than that. */
function paceOf(lines: readonly RecordedLine[]): { readonly copyUs: number; readonly pagesUs: number } {
  const at = (status: string) =>
    lines.find(({ side, message }) => side === "source" && message.data?.status === status)?.atUnixUs;
  const stop = lines.find(({ side, message }) => side === "source" && message.event === "STOP")?.atUnixUs;
  const active = at("active") ?? 0;
  const completed = at("completed");
  return {
    copyUs: stop === undefined ? PATIENCE_US : stop - active,
    pagesUs: completed === undefined || stop === undefined ? PATIENCE_US : completed - stop,
  };
}

import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface ReceivedCommand {
  readonly id: number;
  readonly name: string;
  readonly band: "in-band" | "out-of-band";
  readonly args: unknown;
}

/** What the monitor does with one command: answer it, refuse it, or keep quiet until `answer` is called. */
export type ScriptedReply = { readonly value: unknown } | { readonly refusal: string } | "silence";

export interface QmpScript {
  readonly greeting?: "at-once" | "never" | string;
  readonly capabilities?: readonly string[];
  /** A command that is not named here is answered as QEMU does: CommandNotFound. */
  readonly replies?: Readonly<Record<string, ScriptedReply>>;
}

const GREETING = (capabilities: readonly string[]): string =>
  JSON.stringify({
    QMP: { version: { qemu: { major: 7, minor: 2, micro: 22 }, package: "" }, capabilities },
  });

/** A monitor on a real unix socket that serves one client at a time and does what its script says. */
export class ScriptedQmpServer {
  readonly path: string;
  /** Every command but the negotiation, in order of arrival. */
  readonly received: ReceivedCommand[] = [];
  readonly negotiations: unknown[] = [];
  readonly #directory: string;
  readonly #script: QmpScript;
  readonly #server: Server;
  readonly #wakers = new Set<() => void>();
  #client: Socket | undefined;
  #unread = "";

  private constructor(directory: string, script: QmpScript) {
    this.#directory = directory;
    this.path = join(directory, "qmp.sock");
    this.#script = script;
    this.#server = createServer((client) => this.#accept(client));
  }

  static async start(script: QmpScript = {}): Promise<ScriptedQmpServer> {
    const server = new ScriptedQmpServer(await mkdtemp(join(tmpdir(), "switchover-scripted-qmp-")), script);
    await new Promise<void>((resolve) => server.#server.listen(server.path, resolve));
    return server;
  }

  /** Sends lines in one write, so that one read of the client's brings them all. */
  write(...messages: readonly unknown[]): void {
    const lines = messages.map((message) =>
      typeof message === "string" ? message : JSON.stringify(message),
    );
    this.#client?.write(lines.map((line) => `${line}\r\n`).join(""));
  }

  /** Resolves with the `count`-th command that arrived. */
  async command(count: number): Promise<ReceivedCommand> {
    for (;;) {
      const command = this.received[count - 1];
      if (command !== undefined) return command;
      await new Promise<void>((resolve) => this.#wakers.add(resolve));
    }
  }

  /** Ends the connection as a dying QEMU does; new clients are still served. */
  hangUp(): void {
    this.#client?.destroy();
  }

  async end(): Promise<void> {
    this.hangUp();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    await rm(this.#directory, { recursive: true, force: true });
  }

  #accept(client: Socket): void {
    this.#client = client;
    this.#unread = "";
    client.on("error", () => {});
    client.on("data", (chunk) => this.#read(chunk.toString("utf8")));
    const { greeting = "at-once", capabilities = ["oob"] } = this.#script;
    if (greeting === "never") return;
    this.write(greeting === "at-once" ? GREETING(capabilities) : greeting);
  }

  #read(text: string): void {
    const lines = (this.#unread + text).split("\n");
    this.#unread = lines.pop() ?? "";
    for (const line of lines) this.#obey(JSON.parse(line));
    for (const wake of this.#wakers) wake();
    this.#wakers.clear();
  }

  #obey(message: Readonly<Record<string, unknown>>): void {
    const band = "exec-oob" in message ? "out-of-band" : "in-band";
    const name = String(message["exec-oob"] ?? message.execute);
    const { id } = message;
    const reply = this.#script.replies?.[name];
    if (name === "qmp_capabilities") this.negotiations.push(message.arguments);
    else this.received.push({ id: Number(id), name, band, args: message.arguments });
    if (reply === "silence") return;
    if (reply === undefined && name !== "qmp_capabilities") {
      this.write({ id, error: { class: "CommandNotFound", desc: `The command ${name} has not been found` } });
    } else if (reply !== undefined && "refusal" in reply) {
      this.write({ id, error: { class: "GenericError", desc: reply.refusal } });
    } else this.write({ return: reply === undefined ? {} : reply.value, id });
  }
}

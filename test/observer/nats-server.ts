import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";

/** Runs a nats-server with a configuration of its own until the test ends; resolves when it takes clients. */
export async function runToReady(t: TestContext, folder: string, lines: readonly string[]): Promise<void> {
  const path = join(folder, "nats-server.conf");
  writeFileSync(path, `${lines.join("\n")}\n`);
  const child = spawn("nats-server", ["-c", path], { stdio: ["ignore", "ignore", "pipe"] });
  t.after(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  });
  const said: string[] = [];
  await new Promise<void>((resolve, reject) => {
    createInterface({ input: child.stderr }).on("line", (line) => {
      said.push(line);
      if (line.includes("Server is ready")) resolve();
    });
    child.once("exit", () => reject(new Error(`nats-server ended:\n${said.join("\n")}`)));
  });
}

import { execFile } from "node:child_process";
import { SwitchoverError } from "../../proto/error.ts";

export interface CommandOptions {
  /** Written to the command's stdin, for the batch modes of `ip` and `bridge`. */
  readonly input?: string;
  readonly timeoutMs?: number;
  readonly cwd?: string;
}

/**
 * Runs a short command to its end and returns its stdout. Throws INTERNAL (COMMAND_FAILED) with the command
 * line and its stderr when it exits with anything but 0, or after 10 s unless told otherwise.
 */
export function runCommand(
  file: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      file,
      [...args],
      {
        timeout: options.timeoutMs ?? 10_000,
        killSignal: "SIGKILL",
        maxBuffer: 64 * 1024 * 1024,
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      },
      (error, stdout, stderr) => {
        if (error === null) return resolve(stdout);
        const commandLine = [file, ...args].join(" ");
        reject(
          new SwitchoverError("INTERNAL", `${commandLine}: ${stderr.trim() || error.message}`, {
            reason: "COMMAND_FAILED",
            metadata: { command: commandLine, stderr, input: options.input ?? "" },
            cause: error,
          }),
        );
      },
    );
    child.stdin?.on("error", () => {});
    child.stdin?.end(options.input ?? "");
  });
}

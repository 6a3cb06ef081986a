import { parseMigrationProgress } from "../../agent/vmm/migration-progress.ts";
import type { OnVmmAnswer, Vmm, VmmEvent, VmmStatus } from "../../agent/vmm/vmm.ts";
import type { VmmEventBody } from "../../agent/vmm/vmm-event.ts";
import type { VmmProcess } from "../../agent/vmm/vmm-process.ts";
import { SwitchoverError } from "../../proto/error.ts";

const NO_MIGRATION = parseMigrationProgress({ status: "none" });
const LISTENING = parseMigrationProgress({
  status: "setup",
  "socket-address": [{ type: "inet", host: "127.0.0.1", port: "40123" }],
});

/** A VMM that starts and stops CPUs as QEMU does: the event first, then the answer, and `inmigrate` until it is loaded. */
export class PretendedVmm {
  readonly commands: string[] = [];
  readonly #process: VmmProcess | undefined;
  #runState: string;
  #incoming: "closed" | "open" = "closed";
  #hear: (event: VmmEvent) => void = () => {};
  /** Whether it does as it is told at once when it is to start, or says nothing until it refuses. */
  starts: "at once" | "waits" = "at once";
  #start: OnVmmAnswer<void> = () => {};

  constructor(
    runState: "prelaunch" | "inmigrate" | "paused" | "postmigrate" | "running",
    process?: VmmProcess,
  ) {
    this.#runState = runState;
    this.#process = process;
  }

  /** What an agent is given to open it with. */
  open(hear: (event: VmmEvent) => void): Vmm {
    this.#hear = hear;
    // Commands that no test here needs are missing, and whoever sends one fails.
    return this.#vmm() as Vmm;
  }

  /** Something happens to it that nobody ordered. */
  suffers(body: VmmEventBody, runState: string): void {
    this.#runState = runState;
    this.#says(body);
  }

  /** It does not start the guest that it waited with. */
  refusesStart(): void {
    const error = new SwitchoverError("FAILED_PRECONDITION", "The image is locked.", {
      reason: "QMP_REFUSED",
    });
    this.#start({ kind: "failed", error, sentAtUnixUs: 0, receivedAtUnixUs: 0 });
  }

  /** Its connection ends. */
  disconnects(): void {
    const error = new SwitchoverError("UNAVAILABLE", "closed.", { reason: "QMP_CLOSED" });
    this.#says({ kind: "disconnected", error });
  }

  #vmm(): Partial<Vmm> {
    const status = (): VmmStatus => ({
      runState: "unknown",
      runStateText: this.#runState,
      running: this.#runState === "running",
    });
    const soon = <Value>(answer: OnVmmAnswer<Value>, value: () => Value) => {
      setImmediate(() => answer({ kind: "done", value: value(), sentAtUnixUs: 0, receivedAtUnixUs: 0 }));
    };
    return {
      process: this.#process,
      describeFeatures: async () => ({
        version: { major: 7, minor: 2, micro: 22, packageText: "" },
        versionText: "7.2.22",
        outOfBand: "enabled",
        postcopyDeviceStatus: "unknown",
        migrationStatuses: [],
        migrationCapabilities: [],
      }),
      queryStatus: async () => status(),
      queryMigrate: async () => (this.#incoming === "open" ? LISTENING : NO_MIGRATION),
      stop: async () => {},
      quit: async () => {},
      migrateIncoming: async () => {
        this.#incoming = "open";
      },
      sendQueryStatus: (onAnswer) => soon(onAnswer, status),
      sendCont: (onAnswer) => {
        this.commands.push("cont");
        this.#start = onAnswer;
        if (this.starts === "waits") return;
        setImmediate(() => this.suffers({ kind: "resume" }, "running"));
        soon(onAnswer, () => {});
      },
      sendStop: (onAnswer) => {
        this.commands.push("stop");
        setImmediate(() => this.suffers({ kind: "stop" }, "paused"));
        soon(onAnswer, () => {});
      },
      setMigrationCapabilities: async () => {},
      setMigrationParameters: async () => {},
      announceSelf: async () => {},
      close: () => {},
    };
  }

  #says(body: VmmEventBody): void {
    this.#hear({ ...body, atUnixUs: 1, receivedAtUnixUs: 1 });
  }
}

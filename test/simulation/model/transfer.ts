import { MigrationStream } from "./migration-stream.ts";
import type { Qemu, QemuAnswer } from "./qemu.ts";

type Stage =
  | "connecting"
  /** Pages flow, the guest lives at the source. */
  | "copying"
  /** The source has stopped the guest and holds its main loop until the device state is written. */
  | "stopping"
  /** The last pages; the main loop is free, the transfer can still fail or be cancelled. */
  | "flushing"
  /** Post-copy: the package with the device state is being written (7.2), or loaded over there (10.2). */
  | "package"
  | "postCopy"
  /** The source is through; in live mode the destination may still be loading. */
  | "completed"
  | "ended";

const done: QemuAnswer = { kind: "done", value: undefined };

/**
 * One migration between two QEMUs, with its stream. Orders and times are those that QEMU 7.2 showed here and those
 * that DESIGN.md's section 3 has of newer ones.
 *
 * A stream that is cut (`reset`) shows at both ends at once; one that is stalled moves nothing until it flows again.
 */
export class Transfer {
  readonly source: Qemu;
  destination: Qemu | undefined;
  stage: Stage = "connecting";
  passes = 0;
  readonly #stream: MigrationStream;
  #brokenBy: "network" | "agent" = "agent";
  #runStateBefore: string;
  #postCopyAsked = false;
  #cancel: "none" | "under way" = "none";
  #loaded: "no" | "loading" | "yes" = "no";
  /** The destination waits for the source to come back. */
  isListening = false;
  /** What was to happen next and no longer does once the transfer took another turn. */
  #turn = 0;

  constructor(source: Qemu, destination: Qemu | undefined) {
    this.source = source;
    this.destination = destination;
    this.#runStateBefore = source.runState;
    this.#stream = new MigrationStream(
      source.parts.timeline,
      () => this.stage !== "ended" && this.stage !== "connecting",
    );
    source.setStatus("setup");
    this.#atSource(this.#us(600, 1_500), () => this.#connect());
  }

  isUnderWay(): boolean {
    return !["completed", "ended"].includes(this.stage);
  }

  /** Whether the source's CPUs stand for good, as far as its QEMU goes. */
  hasLeftSource(): boolean {
    return this.stage === "completed" || this.stage === "postCopy";
  }

  /** Whether QEMU itself has stopped the source's CPUs, and may start them again. */
  isSwitching(): boolean {
    return this.stage === "stopping" || this.stage === "flushing" || this.stage === "package";
  }

  /** In post-copy, with one end dead. */
  isTornApart(): boolean {
    if (this.stage !== "postCopy" || this.#cancel === "under way") return false;
    return !(this.source.isAlive && this.destination?.isAlive === true);
  }

  transferredBytes(): number {
    return this.#stream.transferredBytes();
  }

  /** Nothing gets through until `flow`. */
  stall(): void {
    this.#stream.stall();
  }

  flow(): void {
    this.#stream.flow();
  }

  /** Both ends see the connection break: by the network, or because one of their agents asked for it. */
  reset(by: "network" | "agent"): void {
    if (this.#stream.state === "broken" || this.stage === "ended") return;
    this.#brokenBy = by;
    this.#stream.break();
    // A sender notices when it sends: one that is held to a bandwidth only when it may send again.
    const { random } = this.source.parts;
    this.#atSourceAnyway(random.spread(20, this.stage === "flushing" ? 2_000 : 100_000), () => {
      if (this.#stream.state === "broken") this.#sourceSawBreak();
    });
    this.#at(this.destination, random.between(0, 300), () => this.#destinationSawBreak());
  }

  endDied(end: Qemu): void {
    if (this.stage === "ended") return;
    if (end === this.source) {
      const { destination } = this;
      this.#stream.break();
      if (this.stage === "completed" && this.#loaded !== "no") return;
      destination?.process.run(() => this.#destinationSawBreak());
    } else this.reset("network");
  }

  cancel(): QemuAnswer {
    const { source } = this;
    switch (this.stage) {
      case "connecting":
      case "copying":
        source.setStatus("cancelling");
        this.#turn += 1;
        this.#closeTowardsDestination();
        // A stream that is held to a bandwidth notices only when it may send again.
        this.#atSourceAnyway(source.parts.random.spread(100, 100_000), () => {
          this.stage = "ended";
          source.setStatus("cancelled");
        });
        return done;
      case "flushing":
        source.setStatus("cancelling");
        if (source.parts.version === "10.2" && source.parts.random.chance(0.3)) return done;
        this.#turn += 1;
        this.#atSource(this.#us(50, 500), () => {
          this.#goBack();
          source.setStatus("cancelled");
          this.#end();
        });
        return done;
      case "package":
      case "postCopy":
        return this.#cancelPostCopy();
      default:
        return done;
    }
  }

  startPostCopy(): QemuAnswer {
    if (!this.source.has("postcopy-ram")) {
      return {
        kind: "refused",
        desc: "Enable postcopy with migrate_set_capability before the start of migration",
      };
    }
    if (this.source.status === "none") {
      return { kind: "refused", desc: "Postcopy must be started after migration has been started" };
    }
    if (!this.#postCopyAsked && this.stage === "copying") {
      this.#turn += 1;
      this.#atSource(this.#us(200, 20_000), () => this.#enterPostCopy());
    }
    this.#postCopyAsked = true;
    return done;
  }

  /** `migrate-pause` of one end; undefined where it refuses. */
  pause(end: Qemu): QemuAnswer | undefined {
    if (this.stage !== "postCopy" || end.status !== "postcopy-active") return undefined;
    this.reset("agent");
    return done;
  }

  /** `migrate` with `resume`. */
  resume(destination: Qemu | undefined): void {
    const { source } = this;
    const canConnect = () =>
      destination !== undefined &&
      destination === this.destination &&
      destination.isAlive &&
      this.isListening;
    this.#atSourceAnyway(0, () => {
      if (source.parts.version === "10.2") source.setStatus("postcopy-recover-setup");
      if (!canConnect()) source.setStatus("postcopy-paused");
      else {
        this.isListening = false;
        this.#stream.connectAnew();
        source.setStatus("postcopy-recover");
        this.#atSource(this.#us(0, 2_000), () => source.setStatus("postcopy-active"));
        this.#at(destination, this.#us(0, 8_000), () => {
          destination?.setStatus("postcopy-recover");
          // A connection that broke before it was accepted is accepted all the same, and then found broken.
          if (this.#stream.state === "broken") {
            destination?.setStatus("postcopy-paused");
            return;
          }
          destination?.setStatus("postcopy-active");
          if (this.#loaded === "loading") this.#finishPostCopyLoad();
          this.#sendPages();
        });
      }
    });
  }

  #connect(): void {
    const { source, destination } = this;
    if (destination === undefined || !destination.isAlive || destination.transfer !== null) {
      this.#end();
      source.setStatus("failed");
      return;
    }
    destination.transfer = this;
    this.stage = "copying";
    this.#at(destination, this.#us(0, 3_000), () => {
      if (destination.status === "setup") destination.setStatus("active");
    });
    this.#pass();
    source.setStatus("active");
    this.#atSource(this.#jitter(source.parts.copyUs), () => this.#converge());
  }

  #pass(): void {
    this.passes += 1;
    if (this.source.has("events")) this.source.onEvent({ kind: "migrationPassed", pass: this.passes });
  }

  /** What is left fits into the downtime limit: the CPUs move now. */
  #converge(): void {
    const { source } = this;
    this.#noteRunState();
    this.stage = "stopping";
    if (source.has("pause-before-switchover")) {
      source.stopCpus("finish-migrate");
      this.#atSourceAnyway(this.#us(500, 1_200), () => {
        this.stage = "flushing";
        source.setStatus("pre-switchover");
      });
      return;
    }
    source.holdMainLoop();
    source.stopCpus("finish-migrate");
    // The socket's buffer takes the device state, whatever becomes of it.
    this.#atSourceAnyway(this.#us(500, 1_200), () => {
      if (this.#stream.state === "broken") return this.#failAtSource();
      this.stage = "flushing";
      source.releaseMainLoop();
      if (this.stage !== "flushing") return;
      const end = () => this.#completeLive();
      // So may it take the last pages: then the source is through, and nobody knows whether they will arrive.
      if (this.#stream.state === "stalled" && source.parts.random.chance(0.5)) {
        this.#atSourceAnyway(this.#us(20, 600), () => this.#stream.state !== "broken" && end());
      } else this.#atSource(this.#us(20, 600), end);
    });
  }

  #completeLive(): void {
    const { source, destination } = this;
    this.stage = "completed";
    this.#pass();
    source.setStatus("completed");
    this.#atSourceAnyway(this.#us(0, 2_000), () => {
      if (source.runState === "finish-migrate") source.runState = "postmigrate";
    });
    const memory = source.memory;
    this.#stream.whenFlowing(() =>
      this.#at(destination, this.#us(1_700, 2_600), () => {
        if (destination === undefined || memory === null) return;
        this.#loaded = "yes";
        destination.memory = memory;
        destination.setStatus("completed");
        this.#at(destination, this.#us(0, 1_500), () => {
          this.#stream.countFlow();
          destination.finishLoad();
        });
      }),
    );
  }

  #enterPostCopy(): void {
    const { source } = this;
    this.#noteRunState();
    this.stage = "package";
    if (source.parts.version === "10.2") {
      source.stopCpus("finish-migrate");
      this.#pass();
      source.setStatus("postcopy-device");
      this.#atSource(this.#us(500, 1_500), () => this.#loadPackage());
      return;
    }
    source.setStatus("postcopy-active");
    this.#atSourceAnyway(this.#us(200, 400), () => {
      source.holdMainLoop();
      source.stopCpus("finish-migrate");
      this.#pass();
      this.#atSourceAnyway(this.#us(400, 900), () => {
        if (this.#stream.state === "broken") return this.#failAtSource();
        this.stage = "postCopy";
        source.releaseMainLoop();
        this.#stream.whenFlowing(() =>
          this.#at(this.destination, this.#us(700, 1_000), () => this.#loadPackage()),
        );
        if (this.stage === "postCopy") this.#sendPages();
      });
    });
  }

  /** The destination has the device state, and loads it; pages that it needs for that must still flow. */
  #loadPackage(): void {
    const { destination, source } = this;
    if (destination === undefined || !destination.isAlive) return;
    this.#loaded = "loading";
    const newer = source.parts.version === "10.2";
    destination.setStatus(newer ? "postcopy-device" : "postcopy-active");
    destination.holdMainLoop();
    this.#at(destination, this.#us(800, 5_000), () => {
      this.#stream.whenFlowing(() => this.#finishPostCopyLoad());
    });
  }

  #finishPostCopyLoad(): void {
    const { destination, source } = this;
    if (destination === undefined || !destination.isAlive || this.#loaded === "yes") return;
    this.#loaded = "yes";
    destination.memory = { generation: source.memory?.generation ?? 0, pages: "some" };
    destination.setStatus("postcopy-active");
    destination.finishLoad();
    destination.releaseMainLoop();
    if (this.stage !== "package") return;
    this.#atSource(this.#us(100, 400), () => {
      this.stage = "postCopy";
      source.setStatus("postcopy-active");
      this.#sendPages();
    });
  }

  #sendPages(): void {
    const { source, destination } = this;
    this.#atSource(this.#jitter(source.parts.pagesUs), () => {
      if (this.#loaded !== "yes") return this.#sendPages();
      this.stage = "completed";
      source.setStatus("completed");
      this.#atSourceAnyway(this.#us(0, 1_000), () => {
        if (source.runState === "finish-migrate") source.runState = "postmigrate";
      });
      this.#at(destination, this.#us(0, 1_000), () => {
        if (destination?.memory != null) destination.memory = { ...destination.memory, pages: "all" };
        destination?.setStatus("completed");
        this.#stream.countFlow();
      });
    });
  }

  #cancelPostCopy(): QemuAnswer {
    const { source, destination } = this;
    if (source.parts.version === "10.2") {
      return { kind: "refused", desc: "Postcopy migration in progress, cannot cancel." };
    }
    source.setStatus("cancelling");
    this.#turn += 1;
    // The return path's thread waits for the other end; one that died says nothing more, and the cancel hangs.
    if (destination?.isAlive !== true) return done;
    this.#cancel = "under way";
    this.#closeTowardsDestination();
    this.#atSourceAnyway(source.parts.random.spread(200, 100_000), () => {
      source.setStatus("cancelled");
      if (source.runState === "finish-migrate") source.runState = "postmigrate";
      this.stage = "ended";
    });
    return done;
  }

  #sourceSawBreak(): void {
    const { source } = this;
    if (source.status === "cancelled") return;
    if (source.status === "cancelling") {
      // What was still being written when it was cancelled is never through.
      if (this.stage !== "flushing") return;
      this.#turn += 1;
      this.stage = "ended";
      this.#goBack();
      source.setStatus("cancelled");
      return;
    }
    switch (this.stage) {
      case "connecting":
      case "copying":
        this.#turn += 1;
        this.stage = "ended";
        source.setStatus("failed");
        return;
      case "flushing":
        this.#failAtSource();
        return;
      case "package":
        // 7.2 finds out when it has written its package.
        if (source.parts.version === "10.2") this.#failAtSource();
        return;
      case "postCopy":
        this.#turn += 1;
        source.setStatus("postcopy-paused");
        return;
      default:
        return;
    }
  }

  #destinationSawBreak(): void {
    const { destination } = this;
    if (destination === undefined || !destination.isAlive) return;
    if (this.#loaded === "yes" || (this.#loaded === "loading" && this.stage !== "package")) {
      if (destination.status === "postcopy-active") destination.setStatus("postcopy-paused");
      return;
    }
    // QEMU 7.2 to 10.2 end their process where the load fails.
    destination.setStatus("failed");
    if (this.#brokenBy === "agent") destination.kill();
    else
      destination.parts.guest.takeAway(
        destination,
        `The stream to ${destination.parts.name} broke.`,
        "not be its own",
      );
  }

  /** After STOP, before the point of no return: `failed`, and microseconds later the guest runs again. */
  #failAtSource(): void {
    const { source } = this;
    this.#turn += 1;
    this.stage = "ended";
    source.setStatus("failed");
    source.releaseMainLoop();
    this.#atSourceAnyway(this.#us(26, 133), () => this.#goBack());
  }

  #goBack(): void {
    const { source } = this;
    if (source.runState !== "finish-migrate") return;
    if (this.#runStateBefore === "running") source.resumeCpus("itself");
    else source.runState = source.parts.version === "10.2" ? this.#runStateBefore : "postmigrate";
  }

  #end(): void {
    this.stage = "ended";
    this.#closeTowardsDestination();
  }

  /** The stream is closed from the source's side. */
  #closeTowardsDestination(): void {
    const { destination } = this;
    this.#stream.break();
    if (destination?.transfer === this) destination.process.run(() => this.#destinationSawBreak());
  }

  #noteRunState(): void {
    this.#runStateBefore = this.source.runState;
  }

  /** At the source, once so much time has passed and the stream flows, unless the transfer took another turn. */
  #atSource(delayUs: number, work: () => void): void {
    const turn = this.#turn;
    this.#at(this.source, delayUs, () => {
      if (turn !== this.#turn) return;
      this.#stream.whenFlowing(() => {
        if (turn === this.#turn && this.source.isAlive) work();
      });
    });
  }

  #atSourceAnyway(delayUs: number, work: () => void): void {
    this.#at(this.source, delayUs, work);
  }

  #at(end: Qemu | undefined, delayUs: number, work: () => void): void {
    this.source.parts.timeline.after(delayUs, () => end?.process.run(work));
  }

  #us(from: number, to: number): number {
    return this.source.parts.random.between(from, to);
  }

  #jitter(us: number): number {
    return Math.round(us * (0.7 + 0.6 * this.source.parts.random.next()));
  }
}

import { HandOffRoute } from "../../proto/gen/switchover/v1/feed.ts";
import type { HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import type { GuestId, HostId, InstanceId, MigrationId } from "../../proto/ids.ts";
import type { MacAddress } from "../../proto/mac-address.ts";
import { parseMigrationProgress } from "../vmm/migration-progress.ts";
import type { OnVmmAnswer, VmmStatus } from "../vmm/vmm.ts";
import type { VmmEventBody } from "../vmm/vmm-event.ts";
import { adopt } from "./adopt.ts";
import type { GatedVmm } from "./gated-vmm.ts";
import { GuestRunner } from "./guest-runner.ts";

/** Code that ran this often is compiled; the whole rehearsal takes some 10 ms. */
const TIMES = 50;

const FENCE = { epoch: 1n, revision: 1n };
const GUEST_ID = "rehearsal" as GuestId;
const MIGRATION_ID = "rehearsal-000000000000" as MigrationId;
const NICS = [
  { nicId: "net0", macAddress: "52:54:00:00:00:01" as MacAddress, delivery: "withCpus" },
] as const;
const SOURCE = "source" as HostId;
const DESTINATION = "destination" as HostId;

/**
 * Plays live and post-copy switchovers on pretended hosts, so that the code of the gate is compiled before the first
 * guest needs it: unrehearsed, an agent's first STOP takes milliseconds longer than its second. Touches nothing.
 */
export function rehearseSwitchovers(): void {
  for (let time = 0; time < TIMES; time++) {
    for (const mode of ["live", "postCopy"] as const) rehearseOne(mode);
  }
}

function rehearseOne(mode: "live" | "postCopy"): void {
  const words: HandOff[] = [];
  const source = pretendedGate(SOURCE, { runState: "running", afterStop: "finish-migrate" }, words);
  const destination = pretendedGate(DESTINATION, { runState: "inmigrate", afterStop: "paused" }, words);
  const tie = { fence: FENCE, migrationId: MIGRATION_ID, mode, atUnixUs: 0 };
  destination.runner.dispatch({ ...tie, kind: "destinationPrepared", sourceHostId: SOURCE, bootId: "" });
  source.runner.dispatch({
    ...tie,
    kind: "sourceArmed",
    destinationHostId: DESTINATION,
    pointOfNoReturn: mode === "live" ? "completed" : "postcopyActiveTwice",
  });
  if (mode === "postCopy") source.hear(status("postcopy-active"));
  source.hear({ kind: "stop" });
  if (mode === "live") source.hear(status("completed"));
  destination.hear(status(mode === "live" ? "completed" : "postcopy-active"));
  for (const word of words) destination.runner.hearHandOff(word, HandOffRoute.NATS);
  destination.hear({ kind: "resume" });
  source.runner.close();
  destination.runner.close();
}

function status(text: "completed" | "postcopy-active"): VmmEventBody {
  return { kind: "migrationStatusChanged", status: text, statusText: text };
}

/** A gate whose VMM, kernel, journal and bus answer at once and do nothing. */
function pretendedGate(
  hostId: HostId,
  vmmSays: { readonly runState: string; readonly afterStop: string },
  words: HandOff[],
): { readonly runner: GuestRunner; readonly hear: (event: VmmEventBody) => void } {
  const done = { ok: true } as const;
  const answer = <Value>(value: Value, onAnswer: OnVmmAnswer<Value>) =>
    onAnswer({ kind: "done", value, sentAtUnixUs: 0, receivedAtUnixUs: 0 });
  const vmm: GatedVmm = {
    sendQueryStatus: (onAnswer: OnVmmAnswer<VmmStatus>) =>
      answer({ runState: "paused", runStateText: vmmSays.afterStop, running: false }, onAnswer),
    sendQueryMigrate: (onAnswer) => answer(parseMigrationProgress({ status: "postcopy-active" }), onAnswer),
    sendCont: (onAnswer) => answer(undefined, onAnswer),
    sendStop: (onAnswer) => answer(undefined, onAnswer),
    sendMigrateCancel: (onAnswer) => answer(undefined, onAnswer),
    yankMigration: async () => {},
    quit: async () => {},
    announceSelf: async () => {},
    close: () => {},
  };
  const runner = new GuestRunner(
    {
      vmm,
      devices: {
        withhold: () => {},
        start: () => done,
        stop: () => done,
        release: () => done,
        mend: () => ({ result: "mended" }),
      },
      clock: { unixUs: () => 0, after: () => () => {} },
      log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
      handOffs: { publish: (word) => void words.push(word), subscribe: () => () => {} },
      journal: () => {},
      publish: () => {},
      released: () => {},
    },
    adopt({
      guestId: GUEST_ID,
      instanceId: hostId as string as InstanceId,
      hostId,
      fence: { epoch: 0n, revision: 0n },
      runState: vmmSays.runState,
      running: vmmSays.runState === "running",
      nics: NICS,
      staysRegisteredFor: [],
      transferred: "nothing",
    }),
  );
  return { runner, hear: (event) => runner.hearVmm({ ...event, atUnixUs: 0, receivedAtUnixUs: 0 }) };
}

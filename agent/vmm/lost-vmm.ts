import { SwitchoverError } from "../../proto/error.ts";
import type { OnVmmAnswer, Vmm } from "./vmm.ts";

/** A VMM that is gone: every command fails, UNAVAILABLE / QMP_CLOSED, after the call has returned. */
export function lostVmm(sentence: string): Vmm {
  const gone = () => new SwitchoverError("UNAVAILABLE", sentence, { reason: "QMP_CLOSED" });
  const refuse = (onAnswer: OnVmmAnswer<never>): void => {
    queueMicrotask(() => onAnswer({ kind: "failed", error: gone(), sentAtUnixUs: 0, receivedAtUnixUs: 0 }));
  };
  const reject = (): Promise<never> => Promise.reject(gone());
  return {
    sendQueryStatus: refuse,
    sendQueryMigrate: refuse,
    sendCont: refuse,
    sendStop: refuse,
    sendMigrateCancel: refuse,
    queryStatus: reject,
    queryMigrate: reject,
    cont: reject,
    stop: reject,
    quit: reject,
    setMigrationCapabilities: reject,
    setMigrationParameters: reject,
    secureTransfer: reject,
    migrate: reject,
    migrateCancel: reject,
    migrateIncoming: reject,
    migrateStartPostcopy: reject,
    migratePause: reject,
    migrateRecover: reject,
    migrateResume: reject,
    yankMigration: reject,
    announceSelf: reject,
    describeFeatures: reject,
    close: () => {},
  };
}

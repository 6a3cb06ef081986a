import type { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import type { CompleteState } from "../migration/complete-state.ts";

/** Who counts what becomes of migrations. Never throws. */
export interface MigrationMeter {
  /**
   * The feed holds the phase, so long after it was entered. Microseconds. One that two coordinators bring to the feed at
   * the same time is told to both.
   */
  phasePublished(phase: Phase, lagUs: number): void;
  /** The migration has ended, and it was this coordinator that wrote this down: told once, to one of all. */
  ended(state: CompleteState): void;
}

/** How many migrations may be under way at a time; what is beyond waits in PENDING. Counts, each at least 1. */
export interface AdmissionLimits {
  /** That have one host as their source. */
  readonly perSource: number;
  /** That have one host as their destination. */
  readonly perDestination: number;
  readonly inAll: number;
  /** How many may wait; StartMigration beyond that is RESOURCE_EXHAUSTED / QUEUE_FULL. */
  readonly queued: number;
}

/** A host's network and a person's attention bear a few; the whole cloud what one coordinator drives. */
export const DEFAULT_ADMISSION_LIMITS: AdmissionLimits = {
  perSource: 4,
  perDestination: 4,
  inAll: 5_000,
  queued: 20_000,
};

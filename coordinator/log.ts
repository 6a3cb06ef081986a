/** Fields that a line is found by; the names are those of the contract. */
export interface LogFields {
  readonly migration_id?: string;
  readonly guest_id?: string;
  readonly host_id?: string;
  readonly instance_id?: string;
  readonly epoch?: string;
  readonly [name: string]: unknown;
}

/** Where lines go; shaped so that a pino logger is one. Never throws, never blocks. */
export interface Log {
  debug(fields: LogFields, sentence: string): void;
  info(fields: LogFields, sentence: string): void;
  warn(fields: LogFields, sentence: string): void;
  error(fields: LogFields, sentence: string): void;
}

import type { MigrationMode } from "../../lab/bare-migration.ts";
import type { BareDevice } from "../../lab/bare-nics.ts";
import { seededRandom, shuffled } from "../random.ts";

export const CONTENDERS = ["bare", "switchover", "shell", "early"] as const;
export const MODES = ["live", "post-copy"] as const;
export const NIC_COUNTS = [1, 8] as const;
export const DEVICES = ["tap", "macvtap"] as const;

export type Contender = (typeof CONTENDERS)[number];
export type NicCount = (typeof NIC_COUNTS)[number];

/** What the guest has, which a lab is opened for. */
export interface Attachment {
  readonly nics: NicCount;
  readonly device: BareDevice;
}

/** What is compared with each other. */
export interface Row extends Attachment {
  readonly mode: MigrationMode;
}

/** One migration to measure. */
export interface Item extends Row {
  readonly contender: Contender;
  /** Those of one round and row are a pair. */
  readonly round: number;
}

/** Migrations of one lab, in order. */
export interface Block extends Attachment {
  readonly items: readonly Item[];
}

export interface Selection {
  readonly contenders: readonly Contender[];
  readonly modes: readonly MigrationMode[];
  readonly nics: readonly NicCount[];
  readonly devices: readonly BareDevice[];
  /** Of each contender in each row. */
  readonly count: number;
  readonly seed: number;
}

/**
 * A macvtap that is up when it is made is what QEMU alone has, so `early` has a row of its own on taps only. Attachments
 * come in an order of chance, a lab each; in it each round has every mode and contender once, in an order of chance.
 */
export function planBlocks({ contenders, count, devices, modes, nics, seed }: Selection): readonly Block[] {
  const random = seededRandom(seed);
  const attachments = devices.flatMap((device) => nics.map((nicCount) => ({ device, nics: nicCount })));
  return shuffled(attachments, random).map((attachment) => {
    const kinds = modes.flatMap((mode) =>
      contenders
        .filter((contender) => contender !== "early" || attachment.device === "tap")
        .map((contender) => ({ ...attachment, mode, contender })),
    );
    const rounds = Array.from({ length: count }, (_, round) =>
      shuffled(kinds, random).map((kind) => ({ ...kind, round })),
    );
    return { ...attachment, items: rounds.flat() };
  });
}

import {
  type CellEnd,
  type CellSide,
  type FaultCell,
  type FaultInstant,
  type GateHold,
  LOST,
  MOVED,
  MOVED_AND_CRASHED,
  STAYED,
  type Victim,
} from "./fault-cell.ts";

/**
 * Every cell: each victim killed and stopped at each instant; control network and fabric cut on either side in
 * pre-copy and in post-copy; a full disk under each agent's journal at each word that it must not lose; either host
 * dead with nobody to ask. What must come of each is what DESIGN.md, section 3, says of it.
 */
const VICTIMS: readonly Victim[] = [
  "source-agent",
  "destination-agent",
  "coordinator",
  "nats-server",
  "source-qemu",
  "destination-qemu",
];

/** Longer than every deadline of a switchover and of a QMP question; shorter than the stall limit. */
const STOP_MS = 2_000;
/** Longer than the stall limit of 5 s. */
const STALL_MS = 7_000;
const FULL_MS = 2_000;

interface InstantOf {
  readonly instant: FaultInstant;
  /** In cell names. */
  readonly word: string;
  readonly mode: FaultCell["mode"];
  /** Where the migration stands while anybody is hit, unless a victim has lines of its own. */
  readonly hold: GateHold;
  readonly holds?: Partial<Readonly<Record<Victim, readonly GateHold[]>>>;
  /** Default: all of them. */
  readonly victims?: readonly Victim[];
  /** Default: both. */
  readonly kinds?: readonly ("kill" | "stop")[];
  /** What comes of a dead QEMU; everything else ends with the guest moved. */
  readonly killed: Readonly<Record<"source-qemu" | "destination-qemu", readonly CellEnd[]>>;
}

const atSource = (line: string): GateHold => ({ side: "source", line });
const atDestination = (line: string): GateHold => ({ side: "destination", line });

const INSTANTS: readonly InstantOf[] = [
  {
    instant: "preparing",
    word: "preparing",
    mode: "live",
    hold: atDestination("journal prepared"),
    holds: { "source-agent": [atSource("journal armed")] },
    killed: { "source-qemu": [LOST], "destination-qemu": [STAYED] },
  },
  {
    instant: "transferring",
    word: "transferring",
    mode: "live",
    hold: atSource("publish transferStatusChanged active"),
    holds: { "destination-agent": [atDestination("publish transferStatusChanged active")] },
    killed: { "source-qemu": [LOST], "destination-qemu": [STAYED] },
  },
  {
    instant: "between STOP and hand-off",
    word: "stopped",
    mode: "live",
    hold: atSource("journal handedOff"),
    holds: {
      "source-agent": [atSource("deregisterNics"), atSource("journal handedOff"), atSource("publishHandOff")],
      "source-qemu": [atSource("deregisterNics"), atSource("journal handedOff")],
      "destination-qemu": [atSource("deregisterNics"), atSource("journal handedOff")],
    },
    // Whether the destination had all of the guest when its source died decides; the source had handed over all or
    // nothing. A source that lives always has the guest still.
    killed: { "source-qemu": [MOVED, LOST], "destination-qemu": [STAYED] },
  },
  {
    instant: "between hand-off and cont",
    word: "handed-off",
    mode: "live",
    hold: atDestination("journal contSent"),
    holds: {
      "destination-agent": [
        atDestination("registerNics"),
        atDestination("journal contSent"),
        atDestination("sendCont"),
      ],
      "destination-qemu": [atDestination("journal contSent"), atDestination("sendCont")],
    },
    // Once `cont` is journaled there is no way back: a QEMU that died unnoticed just before has crashed with its guest.
    killed: { "source-qemu": [MOVED], "destination-qemu": [LOST, STAYED] },
  },
  // The same two in post-copy. A source that has not handed off may still get out of its broken transfer.
  {
    instant: "between STOP and hand-off",
    word: "stopped-in-post-copy",
    mode: "post-copy",
    hold: atSource("journal handedOff"),
    victims: ["source-agent", "destination-agent", "source-qemu", "destination-qemu"],
    kinds: ["kill"],
    killed: { "source-qemu": [LOST], "destination-qemu": [STAYED, LOST] },
  },
  {
    instant: "between hand-off and cont",
    word: "handed-off-in-post-copy",
    mode: "post-copy",
    hold: atDestination("journal contSent"),
    victims: ["source-agent", "destination-agent", "source-qemu", "destination-qemu"],
    kinds: ["kill"],
    killed: { "source-qemu": [LOST], "destination-qemu": [LOST] },
  },
  {
    instant: "in post-copy",
    word: "post-copy",
    mode: "post-copy",
    hold: atDestination("announce"),
    killed: { "source-qemu": [LOST], "destination-qemu": [LOST] },
  },
  {
    instant: "at completion",
    word: "completing",
    mode: "live",
    hold: atSource("journal released"),
    holds: { "destination-agent": [atDestination("publish cpusStarted")] },
    killed: { "source-qemu": [MOVED], "destination-qemu": [LOST, MOVED_AND_CRASHED] },
  },
];

export const FAULT_CELLS: readonly FaultCell[] = [
  ...noFaults(),
  ...INSTANTS.flatMap((at) => (at.victims ?? VICTIMS).flatMap((victim) => cellsOf(at, victim))),
  ...cuts(),
  ...fullDisks(),
  ...hostDeaths(),
];

function cellsOf(at: InstantOf, victim: Victim): readonly FaultCell[] {
  const holds = at.holds?.[victim] ?? [at.hold];
  return holds.flatMap((hold) => {
    const where = holds.length > 1 ? `-at-${wordOf(hold.line)}` : "";
    const ends = victim === "source-qemu" || victim === "destination-qemu" ? at.killed[victim] : [MOVED];
    const { instant, mode } = at;
    return (at.kinds ?? (["kill", "stop"] as const)).map((kind) => ({
      ...{ name: `${kind}-${victim}-${at.word}${where}`, instant, mode, hold },
      fault: kind === "kill" ? { kind, victim } : { kind, victim, forMs: STOP_MS },
      ends: kind === "kill" ? ends : [MOVED],
    }));
  });
}

function noFaults(): readonly FaultCell[] {
  return INSTANTS.filter(({ word }) => word === "transferring" || word === "post-copy").map(
    ({ instant, mode, hold, word }) => ({
      ...{ name: `no-fault-${word}`, instant, mode, hold, fault: { kind: "none" }, ends: [MOVED] },
    }),
  );
}

function cuts(): readonly FaultCell[] {
  const preCopy = { instant: "transferring", mode: "live" } as const;
  const postCopy = { instant: "in post-copy", mode: "post-copy" } as const;
  const cut = (
    network: "control" | "fabric",
    side: CellSide,
    forMs: number,
    at: Pick<FaultCell, "instant" | "mode">,
    ends: readonly CellEnd[],
  ): FaultCell => ({
    ...(at.mode === "post-copy" && forMs === STALL_MS ? { through: "POST_COPY_PAUSED" } : {}),
    name: `cut-${network}-of-${side}-${at.mode === "live" ? "pre-copy" : "post-copy"}${forMs === STALL_MS ? "-stalled" : ""}`,
    ...at,
    hold: at.mode === "live" ? atSource("publish transferStatusChanged active") : atDestination("announce"),
    fault: { kind: "cut", network, side, forMs },
    ends,
  });
  return (["source", "destination"] as const).flatMap((side) => [
    cut("control", side, STOP_MS, preCopy, [MOVED]),
    // The stall limit cancels before STOP, and pauses in post-copy, to be recovered. A source that is cut off tells of
    // its stall when it is back, and may have handed off before it is asked to cancel.
    cut("control", side, STALL_MS, preCopy, side === "source" ? [STAYED, MOVED] : [STAYED]),
    cut("control", side, STOP_MS, postCopy, [MOVED]),
    cut("control", side, STALL_MS, postCopy, [MOVED]),
    cut("fabric", side, STOP_MS, preCopy, [MOVED]),
    cut("fabric", side, STOP_MS, postCopy, [MOVED]),
  ]);
}

function fullDisks(): readonly FaultCell[] {
  const fill = (instant: FaultInstant, hold: GateHold, ends: readonly CellEnd[]): FaultCell => ({
    name: `full-disk-of-${hold.side}-at-${wordOf(hold.line)}`,
    ...{ instant, mode: "live", hold, ends },
    fault: { kind: "fill", side: hold.side, forMs: FULL_MS },
  });
  return [
    // Asked again for as long as nobody said no.
    fill("preparing", atDestination("journal prepared"), [MOVED]),
    fill("preparing", atSource("journal armed"), [MOVED]),
    fill("between STOP and hand-off", atSource("journal handedOff"), [MOVED]),
    fill("between hand-off and cont", atDestination("journal contSent"), [MOVED]),
  ];
}

function hostDeaths(): readonly FaultCell[] {
  const dies = (
    side: CellSide,
    word: string,
    at: Pick<FaultCell, "instant" | "mode" | "hold">,
    ends: readonly CellEnd[],
  ): FaultCell => ({
    name: `host-death-of-${side}-${word}`,
    ...at,
    fault: { kind: "host-death", side },
    ends,
  });
  return [
    // The word was never journaled: only a person knows that the other side is dead.
    dies(
      "source",
      "stopped",
      { instant: "between STOP and hand-off", mode: "live", hold: atSource("journal handedOff") },
      [LOST, MOVED],
    ),
    dies(
      "destination",
      "handed-off",
      { instant: "between hand-off and cont", mode: "live", hold: atDestination("journal contSent") },
      [STAYED],
    ),
  ];
}

/** `journal-handedOff` of `journal handedOff`. */
function wordOf(line: string): string {
  return line.replaceAll(" ", "-");
}

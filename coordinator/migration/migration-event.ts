import type { ErrorCode } from "../../proto/error.ts";
import type { AnnouncementsEndedBy, FirstFrame } from "../../proto/gen/switchover/v1/feed.ts";
import type { CpuState, HandOff, NicName } from "../../proto/gen/switchover/v1/guest.ts";
import type { Refusal, TakenOverAnswer } from "../../proto/gen/switchover/v1/host_agent_service.ts";
import type { ClockOffset, TransferProgress } from "../../proto/gen/switchover/v1/migration.ts";
import type { Side } from "./complete-state.ts";
import type { CommandName } from "./migration-command.ts";
import type { FailedAttempt } from "./retries.ts";

/** Whose word it is; the sequence numbers are the publisher's own, from 1 without gaps. */
export interface AgentEnvelope {
  readonly hostId: string;
  readonly instanceId: string;
  readonly migrationId: string;
  readonly epoch: bigint;
  readonly sequence: bigint;
  /** The publisher's clock. */
  readonly atUnixUs: bigint;
}

/** What an agent says happened; the feed's words of the same names. */
export type AgentWord =
  | { readonly t: "TransferProgressed"; readonly progress: TransferProgress }
  | { readonly t: "TransferStatusChanged"; readonly status: string; readonly error: string }
  | { readonly t: "CpusStopped"; readonly stoppedAtUnixUs: bigint; readonly receivedAtUnixUs: bigint }
  /** Why the CPUs stand, in QEMU's words. */
  | { readonly t: "StopExplained"; readonly runState: string }
  | { readonly t: "NicsDeregistered"; readonly deregisteredAtUnixUs: bigint }
  | { readonly t: "HandedOff"; readonly handOff: HandOff }
  | { readonly t: "HandOffReceived"; readonly handOff: HandOff | undefined }
  | { readonly t: "HandOffAwaited"; readonly waitedMs: number }
  | { readonly t: "DestinationReady"; readonly runState: string; readonly readyAtUnixUs: bigint }
  | {
      readonly t: "NicsRegistered";
      readonly registeredAtUnixUs: bigint;
      readonly registrationSentAtUnixUs: bigint;
    }
  | { readonly t: "CpusStarted"; readonly contSentAtUnixUs: bigint; readonly resumedAtUnixUs: bigint }
  | { readonly t: "TakenOverPaused"; readonly runState: string }
  | {
      readonly t: "Announced";
      readonly round: number;
      readonly announcedAtUnixUs: bigint;
      readonly endedBy?: AnnouncementsEndedBy | undefined;
      readonly firstFrames: readonly FirstFrame[];
    }
  | { readonly t: "AlarmRaised"; readonly reason: string; readonly sentence: string }
  | { readonly t: "VmmLost"; readonly sentence: string }
  /** The source's VMM moved no bytes for so long. */
  | { readonly t: "TransferStalled"; readonly stalledForMs: number }
  /** A registration drifted, or was mended, or a NIC came or went: the agents' own affair, the word names the NICs. */
  | { readonly t: "RegistrationChanged" }
  /** The source journaled that it never hands off under the epoch. */
  | { readonly t: "Kept"; readonly runState: string; readonly cpuState: CpuState }
  /** The destination journaled that it never started the guest and never will under the epoch. */
  | { readonly t: "HandedBack"; readonly sentence: string }
  /** The source took the guest back; "running" where its CPUs run again. */
  | { readonly t: "SourceResumed"; readonly runState: string }
  /** What the host's agent said under this number is no longer there to be heard; of which instance, nobody knows. */
  | { readonly t: "EventsForgotten" }
  /** A newer agent's word: it counts as heard, so that the ones after it are. */
  | { readonly t: "NotUnderstood" };

export type AgentEvent = AgentEnvelope & AgentWord;

/** A NIC as a host's preflight tells of it; `device` names its kind. */
export interface PreflightNic extends NicName {
  readonly device: string;
}

/** What a command that was carried out answered. */
export type CommandReply =
  | {
      readonly name: "preflight";
      readonly refusals: readonly Refusal[];
      /** Null where the host has no such instance. */
      readonly instance: {
        readonly instanceId: string;
        readonly runState: string;
        readonly epoch: bigint;
        readonly nics: readonly PreflightNic[];
      } | null;
    }
  | { readonly name: "compareClocks"; readonly offset: ClockOffset }
  | { readonly name: "prepareDestination"; readonly incomingUri: string }
  | { readonly name: "armSource"; readonly runState: string }
  | { readonly name: "getHandOff"; readonly handOff: HandOff | undefined }
  | {
      readonly name: "cancelTransfer";
      readonly answer: "kept";
      readonly runState: string;
      readonly cpuState: CpuState;
    }
  | { readonly name: "cancelTransfer"; readonly answer: "tooLate"; readonly handOff: HandOff | undefined }
  | { readonly name: "handBack"; readonly answer: "handedBack" }
  /** `vmmLost`: also where nobody remembers whether it was started before. */
  | { readonly name: "handBack"; readonly answer: "tooLate"; readonly vmmLost: boolean }
  | { readonly name: "deliverHandOff"; readonly takenOver?: TakenOverAnswer | undefined }
  | { readonly name: "resumeSource"; readonly runState: string }
  | { readonly name: "recoverMigration"; readonly recoveryUri: string }
  | { readonly name: "fenceHost" }
  | {
      readonly name:
        | "beginTransfer"
        | "switchToPostCopy"
        | "releaseSource"
        | "abortDestination"
        | "pauseMigration";
    };

/** Why a command was given up. */
export interface CommandError {
  readonly code: ErrorCode;
  readonly reason: string;
  readonly sentence: string;
}

/**
 * postCopy: the policy's time is up. handOff: a destination has been ready for so long that the source is asked whether
 * it keeps the guest. takeOver: a destination that has the word has said nothing of it. recall: a source that forgot its
 * words says no more. askAgain: those who did not answer may be asked again. fenceSource, fenceDestination: that host
 * cannot be asked, and has been so for long enough to be powered off. spec: the caller's own deadline. words: the last words of both agents are not
 * waited for. recover: a transfer that broke has been left alone for long enough.
 */
export type DeadlineName =
  | "postCopy"
  | "handOff"
  | "takeOver"
  | "recall"
  | "askAgain"
  | "fenceSource"
  | "fenceDestination"
  | "spec"
  | "words"
  | "recover";

/** Everything that a migration can hear. */
export type MigrationEvent =
  /** It is its turn. */
  | { readonly t: "Admitted" }
  | {
      readonly t: "CommandSucceeded";
      readonly side: Side;
      readonly epoch: bigint;
      readonly reply: CommandReply;
    }
  | {
      readonly t: "CommandFailed";
      readonly side: Side;
      readonly epoch: bigint;
      readonly name: CommandName;
      readonly error: CommandError;
    }
  /** Attempts of a command that came to nothing, whatever comes of the command. */
  | {
      readonly t: "CommandRetried";
      readonly side: Side;
      readonly name: CommandName;
      readonly attempts: readonly FailedAttempt[];
    }
  | AgentEvent
  | { readonly t: "PostCopyAsked" }
  | { readonly t: "CancelAsked" }
  /** The post-copy transfer is to pause, until `RecoverAsked`. */
  | { readonly t: "PauseAsked" }
  | { readonly t: "RecoverAsked" }
  | { readonly t: "HostUnreachable"; readonly side: Side }
  /** An operator's statement, or the fencing command's: nothing runs there. */
  | { readonly t: "HostDeclaredDead"; readonly side: Side }
  /** An operator's choice where a migration waits for what may never come. */
  | { readonly t: "Resolved"; readonly resolution: "resumeSource" | "guestLost" }
  | { readonly t: "DeadlinePassed"; readonly deadline: DeadlineName };

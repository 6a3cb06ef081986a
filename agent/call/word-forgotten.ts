import { SwitchoverError } from "../../proto/error.ts";
import type { Guest } from "../guest/guest.ts";

/** WORD_FORGOTTEN, for an owner: another host may have the guest, at either end of a transfer, and nobody here can say. */
export function wordForgotten({ guestId, instanceId }: Guest): SwitchoverError {
  return new SwitchoverError(
    "FAILED_PRECONDITION",
    `Instance ${instanceId} of guest ${guestId} was switched over, saved or loaded, and this host does not remember ` +
      "whether the guest is its own: have a coordinator resolve its migration (ResolveMigration), or, where none knows of one and the " +
      "guest runs nowhere else, say so: StartCpus with runs_nowhere_else.",
    { reason: "WORD_FORGOTTEN", field: "instance_id" },
  );
}

/** NOT_FOUND / WORD_FORGOTTEN, for a coordinator: the word under the epoch is not here to be had; the destination may know. */
export function wordNotFound(guestId: string, epoch: bigint): SwitchoverError {
  return new SwitchoverError(
    "NOT_FOUND",
    `This host's journal does not say what became of guest ${guestId} under epoch ${epoch}.`,
    { reason: "WORD_FORGOTTEN", field: "fence.epoch" },
  );
}

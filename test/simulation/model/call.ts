import { SwitchoverError } from "../../../proto/error.ts";
import type { SimulatedProcess } from "../engine/simulated-process.ts";
import type { SimulatedNetwork } from "./network.ts";

/** One end of a call: a process, and where it is in the network. */
export interface Peer {
  readonly node: string;
  readonly process: SimulatedProcess;
}

/**
 * A call over the network with gRPC's endings: the answer, the callee's error, UNAVAILABLE where the callee is dead or
 * the connection broke, DEADLINE_EXCEEDED, CANCELLED. The request may still arrive after the caller gave up.
 */
export function callOver<Answer>(
  network: SimulatedNetwork,
  caller: Peer,
  callee: () => Peer | null,
  bounds: { readonly deadlineMs: number; readonly signal?: AbortSignal },
  calleeNode: string,
  handle: () => Answer | Promise<Answer>,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let settled = false;
    const settle = (finish: () => void) => {
      if (settled) return;
      settled = true;
      cancelDeadline();
      bounds.signal?.removeEventListener("abort", onAbort);
      finish();
    };
    const fail = (code: "UNAVAILABLE" | "DEADLINE_EXCEEDED" | "CANCELLED", reason: string) =>
      caller.process.run(() =>
        settle(() =>
          reject(new SwitchoverError(code, `The call to ${calleeNode} failed: ${reason}.`, { reason })),
        ),
      );
    const onAbort = () => fail("CANCELLED", "CALL_CANCELLED");
    const cancelDeadline = caller.process.after(bounds.deadlineMs, () =>
      fail("DEADLINE_EXCEEDED", "NO_ANSWER"),
    );
    bounds.signal?.addEventListener("abort", onAbort);
    const lost = () => fail("UNAVAILABLE", "UNREACHABLE");
    const answer = (finish: () => void) =>
      network.sendOn(calleeNode, caller.node, () => caller.process.run(() => settle(finish)), lost);
    network.send(
      caller.node,
      calleeNode,
      () => {
        const peer = callee();
        if (peer === null || peer.process.state === "dead") {
          answer(() =>
            reject(new SwitchoverError("UNAVAILABLE", `${calleeNode} refuses.`, { reason: "UNREACHABLE" })),
          );
          return;
        }
        peer.process.onDeath(() => {
          if (!settled)
            answer(() =>
              reject(new SwitchoverError("UNAVAILABLE", `${calleeNode} died.`, { reason: "UNREACHABLE" })),
            );
        });
        const done = (value: Answer) => {
          if (peer.process.state !== "dead") answer(() => resolve(value));
        };
        const failed = (thrown: unknown) => {
          if (peer.process.state !== "dead") answer(() => reject(SwitchoverError.from(thrown)));
        };
        peer.process.run(() => {
          try {
            const handled = handle();
            if (handled instanceof Promise) handled.then(done, failed);
            else done(handled);
          } catch (thrown) {
            failed(thrown);
          }
        });
      },
      lost,
    );
  });
}

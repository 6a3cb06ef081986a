import type { RouteRequest } from "./route-request.ts";

/** Requests that another thread is to carry out, unless they are withdrawn before it has begun. */
export interface AsideJob {
  readonly number: number;
  readonly requests: readonly RouteRequest[];
  /** One of `JOB`, which both threads see. */
  readonly state: Int32Array;
}

export const JOB = { waiting: 0, begun: 1, done: 2, withdrawn: 3 } as const;

/** What the other thread says of a job that it has done. */
export interface AsideReport {
  readonly number: number;
  /** The error names of requests that were refused, or why no answer came. */
  readonly refusals: readonly string[];
}

export function newAsideJob(number: number, requests: readonly RouteRequest[]): AsideJob {
  return { number, requests, state: new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)) };
}

/** Whether the job was waiting, and is the caller's now. */
export function takeJob({ state }: AsideJob, as: "begun" | "withdrawn"): boolean {
  return Atomics.compareExchange(state, 0, JOB.waiting, JOB[as]) === JOB.waiting;
}

export function finishJob({ state }: AsideJob): void {
  Atomics.store(state, 0, JOB.done);
  Atomics.notify(state, 0);
}

/** Blocks the thread until a job that was begun is done; false where it is not within the time. */
export function awaitJob({ state }: AsideJob, timeoutMs: number): boolean {
  return Atomics.wait(state, 0, JOB.begun, timeoutMs) !== "timed-out";
}

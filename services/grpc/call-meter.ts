/** What a lane has at the moment. */
export interface LaneCounts {
  running(): number;
  waiting(): number;
}

/** What is told of the calls of one method. */
export interface MethodMeter {
  /** A call, or stream, has ended; `code` is gRPC's name, `reason` the error's where it is not OK. */
  ended(code: string, reason: string): void;
  /** A unary call that came at `arrivedMs` (performance.now) was answered, or its caller has left. */
  answered(arrivedMs: number): void;
}

/** Who counts a server's calls; asked once a method. Never throws. */
export interface CallMeter {
  method(name: string, lane: LaneCounts): MethodMeter;
}

/** Counts nothing. */
export const NO_CALL_METER: CallMeter = { method: () => ({ ended() {}, answered() {} }) };

/** Who times the calls that a program makes, by method: until their answer, whichever it is. */
export interface CallClock {
  time<T>(method: string, call: () => Promise<T>): Promise<T>;
}

import { Killed } from "./simulated-process.ts";

/** The first promise that broke and that nobody waited for, since it was last asked. */
let broken: unknown;

process.on("unhandledRejection", (thrown: unknown) => {
  if (!isOfTheKilled(thrown)) broken ??= thrown;
});

/** Returns what broke in the code under test and forgets it; what the killed leave behind is theirs. */
export function takeBrokenPromise(): unknown {
  const taken = broken;
  broken = undefined;
  return taken;
}

function isOfTheKilled(thrown: unknown): boolean {
  return thrown instanceof Killed || (thrown instanceof Error && thrown.cause instanceof Killed);
}

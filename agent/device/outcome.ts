import type { NicProblem, StopOutcome, VerifyOutcome } from "./device.ts";

/** What nothing was removed for: another device has what the NIC's would have, or nobody has. */
export function notRemoved(elsewhereIfindex: number | undefined): StopOutcome {
  return elsewhereIfindex === undefined
    ? { result: "alreadyGone" }
    : { result: "elsewhere", ifindex: elsewhereIfindex };
}

/** By what keeps a NIC from being registered, and else from being quarantined; nothing where it is so. */
export function verifyOutcome(
  registered: readonly (NicProblem | undefined)[],
  quarantined: () => readonly (NicProblem | undefined)[],
): VerifyOutcome {
  const problems = registered.filter((problem) => problem !== undefined);
  if (problems.length === 0) return { registration: "registered" };
  const quarantineProblems = quarantined().filter((problem) => problem !== undefined);
  if (quarantineProblems.length === 0) return { registration: "quarantined" };
  return { registration: "drifted", problems, quarantineProblems };
}

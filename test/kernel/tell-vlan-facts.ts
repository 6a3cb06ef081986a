import { inspect } from "node:util";
import { EVERY_VLAN_FACT } from "./every-vlan-fact.ts";
import type { Fact, FactReport } from "./fact.ts";

/** Tells of each fact, as soon as it is known, whether it holds on the kernel that this runs on. */
for (const fact of EVERY_VLAN_FACT) process.stdout.write(`${JSON.stringify(await reportOf(fact))}\n`);

async function reportOf({ name, holds }: Fact): Promise<FactReport> {
  try {
    await holds();
    return { name, failure: null };
  } catch (thrown) {
    return { name, failure: inspect(thrown) };
  }
}

import type { Fact } from "./fact.ts";
import { VLAN_TAP_KIND } from "./vlan-tap-kind.ts";
import { walkNic } from "./walk-nic.ts";

const SEED = 20140602;

/** Each deed after each other one, as `describe-walks.ts` has it for kinds that need no kernel of their own. */
export const VLAN_WALK: Fact = {
  name: `whatever is done after whatever, the kernel shows what it should of ${VLAN_TAP_KIND.name}`,
  async holds() {
    await walkNic(VLAN_TAP_KIND, SEED);
  },
};

import type { Fact } from "./fact.ts";
import { LOST_VLAN_FACTS } from "./lost-vlan-facts.ts";
import { VLAN_FACTS } from "./vlan-facts.ts";
import { VLAN_WALK } from "./vlan-walk.ts";

/** What is asked of a kernel whose bridges can filter VLANs. */
export const EVERY_VLAN_FACT: readonly Fact[] = [...VLAN_FACTS, ...LOST_VLAN_FACTS, VLAN_WALK];

import { describeWalks } from "./describe-walks.ts";
import { MACVTAP_KINDS } from "./nic-kinds.ts";

describeWalks(MACVTAP_KINDS);

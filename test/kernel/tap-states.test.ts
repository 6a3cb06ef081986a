import { describeWalks } from "./describe-walks.ts";
import { TAP_KINDS } from "./nic-kinds.ts";

describeWalks(TAP_KINDS);

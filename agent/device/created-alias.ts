/** The alias of devices that Switchover created: what tells them from others after a restart. */
export const CREATED_ALIAS = "switchover";

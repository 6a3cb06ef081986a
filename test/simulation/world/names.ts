export const HOST_IDS = ["ha", "hb", "hc"] as const;
export const GUEST_ID = "web";
/** The control plane's place in the network. */
export const CONTROL_PLANE = "control";

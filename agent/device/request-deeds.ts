import type { RouteRequest } from "../netlink/route-request.ts";

/** What a request does to a device, for the sentence that says it was refused. */
export const DEEDS: { readonly [Op in RouteRequest["op"]]: string } = {
  setLink: "set up",
  setBridgePort: "quarantine",
  deleteFdbEntry: "deregister",
  replaceFdbEntry: "register",
  getFdbEntry: "read back",
  replaceVxlanEntry: "register",
  deleteVxlanEntry: "deregister",
  getVxlanEntry: "read back",
  replaceGroupEntry: "register",
  deleteGroupEntry: "deregister",
  getGroupEntry: "read back",
  addPortVlans: "set the VLANs of",
  keepPortVlans: "set the VLANs of",
  getLink: "read back",
  createLink: "create",
  deleteLink: "delete",
  createMacvtap: "create",
  setAltName: "name",
  replaceAddress: "give its address to",
  deleteAddress: "take its address from",
  getAddresses: "read the addresses of",
  replaceRoute: "route to",
  deleteRoute: "take the route from",
  getRoute: "look up the route to",
};

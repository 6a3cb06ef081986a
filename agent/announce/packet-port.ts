import type { MacAddress } from "../../proto/mac-address.ts";

/** The host's links as something that sends and hears whole frames (AF_PACKET), past bridges and routes. */
export interface PacketPort {
  /**
   * Opens a link to send by, and to hear which of `sources` others send by it. Changes nothing on the link.
   * Throws UNAVAILABLE with the name of the error number: EPERM without CAP_NET_RAW, ENODEV where the link is gone.
   */
  open(ifindex: number, sources: readonly MacAddress[]): PacketLink;
}

export interface PacketLink {
  /** Hands a frame to the link without waiting. Throws UNAVAILABLE where the link does not take it. */
  send(frame: Uint8Array): void;
  /**
   * Those of the sources whose frames have left by the link since it was opened, and when the first did. Not heard are
   * what this link itself sent, what came in, since that was sent elsewhere, and reverse ARP, which is a VMM's and not its
   * guest's. Microseconds, Unix: the kernel's stamp; it begins to make them a moment after `open`, and for an earlier
   * frame it is that of the next one, or of when it was read.
   */
  heard(): ReadonlyMap<MacAddress, number>;
  /** Returns at once and lets the kernel take its time. Idempotent. */
  close(): void;
}

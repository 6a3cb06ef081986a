/**
 * What the lab's witnesses write down. They watch the kernel, QEMU and the guest directly and share no code
 * with what they watch. All times are microseconds of CLOCK_REALTIME on one machine, so records of different
 * witnesses can be compared.
 */

/** A guest MAC's entry in a bridge's forwarding database, as it was found, set, or deleted. */
export interface FdbRecord {
  readonly host: string;
  readonly atUnixUs: number;
  /** `present`: found when the witness began; `set`: RTM_NEWNEIGH; `deleted`: RTM_DELNEIGH. */
  readonly change: "present" | "set" | "deleted";
  readonly mac: string;
  readonly dev: string;
  readonly bridge: string;
  /** Undefined on a bridge without VLAN filtering. */
  readonly vlan: number | undefined;
  /** `static` is NUD_NOARP, a registration; `dynamic` was learned. */
  readonly state: "static" | "permanent" | "dynamic";
  readonly sticky: "sticky" | "movable";
}

/** A run-state fact of one QEMU process, with QEMU's own time stamp where it is an event. */
export interface QmpRecord {
  readonly host: string;
  readonly instance: string;
  readonly atUnixUs: number;
  readonly fact:
    | { readonly kind: "first-status"; readonly running: boolean; readonly status: string }
    | { readonly kind: "event"; readonly name: string; readonly data: Readonly<Record<string, unknown>> }
    /** The QMP socket closed: this QEMU is gone, and its CPUs with it. */
    | { readonly kind: "gone" };
}

/** One beat on the shared disk. */
export interface DiskRecord {
  readonly seq: number;
  readonly host: string;
  /** The guest's own clock, which does not advance while its CPUs are stopped. */
  readonly guestUptimeSeconds: number;
}

/** A frame seen on a tap. */
export interface FrameRecord {
  readonly atUnixUs: number;
  readonly sentBy: "guest" | "host";
  readonly source: string;
  readonly destination: string;
  /** As tcpdump names it: `ARP`, `IPv4`, `Reverse ARP`. */
  readonly etherType: string;
  readonly lengthBytes: number;
}

/** Where one QEMU of a guest is attached: what makes an FDB entry a registration of that guest. */
export interface InstanceNics {
  readonly instance: string;
  readonly host: string;
  readonly nics: readonly { readonly tap: string; readonly mac: string }[];
}

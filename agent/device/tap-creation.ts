import * as fs from "node:fs";
import { SwitchoverError } from "../../proto/error.ts";
import { errnoName } from "../netlink/errno.ts";
import { HOST_IS_LITTLE_ENDIAN } from "../netlink/host-order.ts";
import { ioctlWithBytes, ioctlWithNumber } from "../netlink/libc.ts";
import type { DeviceCreation } from "./device.ts";

/** Makes the devices that the routing socket cannot make. */
export interface DeviceFactory {
  /** Throws ALREADY_EXISTS where the name is taken. */
  create(creation: Extract<DeviceCreation, { readonly by: "tun" }>): void;
  /** What devices that are made from now on have from the host; undefined, or no such function, where that is not known. */
  inherited?(): Inherited | undefined;
}

/** The host's settings for devices that come (`net.ipv6.conf.default`), which netlink does not tell. */
export interface Inherited {
  readonly ipv6: "enabled" | "disabled";
}

const TUNSETIFF = 0x400454ca;
const TUNSETPERSIST = 0x400454cb;
const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
/** Refuse a name that is taken, instead of attaching to its device. */
const IFF_TUN_EXCL = 0x8000;
const IFREQ_BYTES = 40;
const IFREQ_FLAGS_OFFSET = 16;
const EBUSY = 16;
const EEXIST = 17;
/** Of the thread's network namespace. */
const DISABLE_IPV6 = "/proc/sys/net/ipv6/conf/default/disable_ipv6";

/** Makes persistent taps through /dev/net/tun, in the thread's network namespace. */
export const deviceFactory: DeviceFactory = {
  create(creation) {
    createPersistentTap(creation.deviceName);
  },
  inherited() {
    try {
      return { ipv6: fs.readFileSync(DISABLE_IPV6, "latin1").trim() === "0" ? "enabled" : "disabled" };
    } catch (thrown) {
      // A host without IPv6 has no settings of it either.
      return (thrown as NodeJS.ErrnoException).code === "ENOENT" ? { ipv6: "disabled" } : undefined;
    }
  },
};

/**
 * Creates a tap that outlives this process, down, with virtio headers as QEMU asks for them.
 * The name has been validated; throws ALREADY_EXISTS where it is taken. After a throw no device is left.
 */
function createPersistentTap(deviceName: string): void {
  const fd = openTunDevice(deviceName);
  try {
    const request = new Uint8Array(IFREQ_BYTES);
    request.set(Buffer.from(deviceName, "latin1"));
    const flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL;
    new DataView(request.buffer).setUint16(IFREQ_FLAGS_OFFSET, flags, HOST_IS_LITTLE_ENDIAN);
    orThrow(deviceName, ioctlWithBytes(fd, TUNSETIFF, request));
    orThrow(deviceName, ioctlWithNumber(fd, TUNSETPERSIST, 1));
  } finally {
    fs.closeSync(fd);
  }
}

function openTunDevice(deviceName: string): number {
  try {
    return fs.openSync("/dev/net/tun", fs.constants.O_RDWR);
  } catch (thrown) {
    throw new SwitchoverError("UNAVAILABLE", `/dev/net/tun cannot be opened to create ${deviceName}.`, {
      reason: "TUN_UNAVAILABLE",
      cause: thrown,
    });
  }
}

function orThrow(deviceName: string, result: number): void {
  if (result >= 0) return;
  const name = errnoName(-result);
  if (result === -EBUSY || result === -EEXIST) {
    throw new SwitchoverError("ALREADY_EXISTS", `${deviceName} exists already.`, { reason: "DEVICE_EXISTS" });
  }
  throw new SwitchoverError("UNAVAILABLE", `The tap ${deviceName} could not be created: ${name}.`, {
    reason: name,
  });
}

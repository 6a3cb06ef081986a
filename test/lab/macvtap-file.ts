import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { runCommand } from "./command.ts";
import type { NetworkNamespace } from "./network-namespace.ts";

/**
 * Makes the file by which QEMU is given a macvtap, in a folder of the lab's own: `/dev/tap<ifindex>` is one name for all
 * namespaces of this machine.
 */
export async function makeMacvtapFile(
  namespace: NetworkNamespace,
  device: string,
  directory: string,
): Promise<string> {
  const script = `mount -t sysfs lab /sys && cat /sys/class/net/${device}/macvtap/tap*/dev`;
  const number = (await namespace.run("unshare", ["--mount", "sh", "-c", script])).trim();
  const characterDevice = join(directory, device);
  await mkdir(directory, { recursive: true });
  await runCommand("mknod", [characterDevice, "c", ...number.split(":")]);
  return characterDevice;
}

import type { GuestRecipe } from "./guest-image.ts";

/**
 * What runs inside the lab's guest: one shell loop that proves that the guest lives, and where.
 *
 * Every beat goes to the serial port (`hb <seq> host=<host>`) and to the shared disk, with the name of the
 * host under the guest's feet. That name comes from fw_cfg, which belongs to the QEMU process and does not
 * migrate, unlike everything that the guest remembers.
 */

/** The fw_cfg item `<host> <index> <hosts>`, padded to a fixed length: the guest caches an item's size. */
export const HOST_FW_CFG_NAME = "opt/org.switchover.lab/host";

/** A page: busybox aligns smaller buffers badly, and then gives up O_DIRECT without a word. */
export const DISK_SLOT_BYTES = 4096;
/** Beats that the disk remembers for each host; at 52 ms a beat, 7 minutes. */
export const DISK_SLOTS_PER_HOST = 8192;

/**
 * One beat is `<seq> <host> <uptime seconds>` in slot `index * slots + seq mod slots`: two copies of the
 * guest that run at once count on from the same number and leave it twice, once in each host's part.
 *
 * The guest dirties as little memory as it can. An emulated QEMU 7.2 loses writes between two dirty-page
 * syncs of a migration, and the fewer passes a migration needs the fewer guests die of it: so no process is
 * forked for a beat (builtins, and one `dd` for as long as the host stays the same), and zeros wipe what
 * unpacking the kernel left in free memory, 60 MB that every migration would carry. NICs beyond eth0 stay down in the
 * guest, which their hosts do not notice: eight that are up have the kernel write enough to kill every third guest.
 */
const HEARTBEAT = `echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6
echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
$bb ip link set lo up
$bb ip address add $guest_address dev eth0
$bb ip link set eth0 up
while read -r key kib rest; do [ "$key" = MemAvailable: ] && break; done < /proc/meminfo
$bb mount -t tmpfs -o size=95% tmpfs /scratch
$bb dd if=/dev/zero of=/scratch/zeros bs=64k count=$((kib / 64 - 192)) status=none
$bb umount /scratch
$bb mkfifo /never /beats
exec 3<> /never 4<> /beats
seq=0
writer=
part=
while :; do
  seq=$((seq + 1))
  read -r host index rest < /sys/firmware/qemu_fw_cfg/by_name/${HOST_FW_CFG_NAME}/raw
  read -r uptime rest < /proc/uptime
  echo "hb $seq host=$host"
  slot=$((seq % ${DISK_SLOTS_PER_HOST}))
  if [ "$index" != "$part" ] || [ $slot = 0 ]; then
    part=$index
    [ -z "$writer" ] || { kill $writer; wait $writer; } 2> /dev/null
    $bb dd if=/beats of=/dev/vda bs=${DISK_SLOT_BYTES} \\
      seek=$((index * ${DISK_SLOTS_PER_HOST} + slot)) oflag=direct conv=notrunc status=none &
    writer=$!
  fi
  printf '%-${DISK_SLOT_BYTES - 1}s\\n' "$seq $host $uptime" >&4
  read -t 0.05 -r rest <&3
done
`;

/** The guest that the lab migrates. */
export const LAB_GUEST: GuestRecipe = {
  modules: [
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio_blk",
    "qemu_fw_cfg",
  ],
  script: HEARTBEAT,
};

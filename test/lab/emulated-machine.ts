import type { GuestImage } from "./guest-image.ts";

export interface EmulatedMachine {
  readonly name: string;
  readonly image: Pick<GuestImage, "kernelPath" | "initrdPath">;
  readonly memoryMib: number;
  /** Beside those that make the first serial port a console which only tells what is wrong. */
  readonly kernelParameters: readonly string[];
}

/**
 * QEMU's arguments for a machine of one CPU that boots an image and has nothing else: no disk, no NIC, no serial port. It
 * ends with its kernel, also when that panics. Emulated, since hosts that offer /dev/kvm may hang a guest on it.
 */
export function emulatedMachine({ name, image, memoryMib, kernelParameters }: EmulatedMachine): string[] {
  const commandLine = ["console=ttyS0", "quiet", "loglevel=1", "panic=-1", ...kernelParameters].join(" ");
  return [
    ...["-name", name, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...["-machine", "q35", "-cpu", "qemu64", "-accel", "tcg,thread=single"],
    ...["-m", String(memoryMib)],
    ...["-kernel", image.kernelPath, "-initrd", image.initrdPath, "-append", commandLine],
  ];
}

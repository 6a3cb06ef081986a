import { openChangeSocket } from "../../agent/netlink/change-socket.ts";
import { NicDefinition, TapOnBridge } from "../../proto/gen/switchover/v1/nic.ts";
import { openHostClock } from "../../services/clock/host-clock.ts";
import { type Bench, nic, prepare, withAgent } from "./agent-bench.ts";
import { eventually } from "./host-state.ts";
import { PretendedVmm } from "./pretended-vmm.ts";

const AUDIT_MS = 10_000;

/** An agent that hears what the kernel tells and looks at nothing else, and a guest of its own that runs: `web`, on web0. */
export function withWatchedGuest(
  change: { readonly nic?: Partial<NicDefinition>; readonly tap?: Partial<TapOnBridge> },
  body: (bench: Bench) => Promise<void>,
  arrange: () => void = () => {},
): Promise<void> {
  let close = () => {};
  return withAgent(
    async (bench) => {
      arrange();
      bench.vmms.set("/run/a1", new PretendedVmm("running"));
      await bench.agent.prepareNics(prepare("a1", [nicWith(change)]));
      await bench.agent.adoptGuest({
        guestId: "web",
        instanceId: "a1",
        qmpPath: "/run/a1",
        externalCpuSource: undefined,
      });
      await body(bench);
    },
    () => {
      const kernelChanges = openChangeSocket();
      close = () => kernelChanges.close();
      const clock = openHostClock();
      const after: typeof clock.after = (delayMs, fire) =>
        delayMs === AUDIT_MS ? () => {} : clock.after(delayMs, fire);
      return { kernelChanges, clock: { unixUs: () => clock.unixUs(), after } };
    },
  ).finally(() => close());
}

/** Waits until it was told so often that a registration was mended; returns the reasons of what had drifted. */
export async function mended({ told }: Bench, times: number): Promise<readonly string[]> {
  await eventually(`${times} times registrationMended`, () =>
    told.filter(({ event }) => event?.$case === "registrationMended").length >= times ? true : undefined,
  );
  return told.flatMap(({ event }) => (event?.$case === "registrationDrifted" ? [event.value.reason] : []));
}

/** The bench's NIC, changed. */
export function nicWith({
  nic: change = {},
  tap = {},
}: Parameters<typeof withWatchedGuest>[0]): NicDefinition {
  const { device, ...rest } = nic();
  if (device?.$case !== "tapOnBridge") throw new Error("The bench's NIC is a tap.");
  const value = TapOnBridge.fromPartial({ ...device.value, ...tap });
  return NicDefinition.fromPartial({ ...rest, ...change, device: { $case: "tapOnBridge", value } });
}

import { EntryMobility, MacTableManager, NicDefinition } from "../../../proto/gen/switchover/v1/nic.ts";
import { BRIDGE } from "../model/host.ts";
import type { Breakage } from "./breakage.ts";
import type { SimulatedInstance } from "./world.ts";

/** An instance's NICs as the cloud asks agents for them: taps on the one bridge that every host has. */
export function definitionsOf(
  nics: SimulatedInstance["nics"],
  entries: Breakage["entries"],
): NicDefinition[] {
  return nics.map(({ deviceName, macAddress }, index) =>
    NicDefinition.fromPartial({
      nicId: `n${index}`,
      macAddress,
      device: {
        $case: "tapOnBridge",
        value: {
          deviceName,
          bridge: BRIDGE,
          macTableManager: MacTableManager.SWITCHOVER,
          entryMobility: entries === "sticky" ? EntryMobility.STICKY : EntryMobility.ROAMING,
        },
      },
    }),
  );
}

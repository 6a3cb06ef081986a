import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { skipWithout } from "../resource.ts";
import { withHost } from "./guest-nics.ts";
import { inNetworkNamespace, withAnotherNamespace } from "./in-network-namespace.ts";
import { macvtapStates } from "./macvtap-states.ts";
import { type HostState, revisit } from "./revisit.ts";
import type { StatesOfDevice } from "./states-of-device.ts";
import { tapStates } from "./tap-states.ts";

const SEED = 20140602;
const options = { skip: skipWithout("root"), timeout: 180_000 };

const DEVICES: readonly (readonly [name: string, open: StatesOfDevice])[] = [
  ["a tap on a bridge that Switchover manages", tapStates("switchover")],
  ["a tap on a bridge that the kernel manages", tapStates("kernel")],
  ["a macvtap in bridge mode", macvtapStates("bridge")],
  ["a macvtap in passthrough mode", macvtapStates("passthrough")],
];

describe("every state has the same kernel text, whichever it was reached from:", options, () => {
  for (const [name, open] of DEVICES) {
    it(name, (context: TestContext) =>
      inNetworkNamespace(() =>
        withAnotherNamespace((elsewhere) =>
          withHost(async (host) => {
            const { states, read, close } = open(host, elsewhere);
            try {
              assert.equal(new Set(states.map((state: HostState) => state.name)).size, states.length);
              const { pairs, steps } = await revisit(states, read, SEED);
              context.diagnostic(`${states.length} states, ${pairs} pairs, ${steps} steps, seed ${SEED}`);
            } finally {
              close();
            }
          }),
        ),
      ),
    );
  }
});

import { describeFaults } from "./fault-suite.ts";

describeFaults(
  "networks that are cut, disks that are full and hosts that die while an agent stands at a line of its gate",
  ({ fault }) => !("victim" in fault),
);

import { describeFaults } from "./fault-suite.ts";

describeFaults(
  "a QEMU that is killed or stopped while an agent stands at a line of its gate",
  ({ fault }) => "victim" in fault && (fault.victim === "source-qemu" || fault.victim === "destination-qemu"),
);

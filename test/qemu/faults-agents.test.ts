import { describeFaults } from "./fault-suite.ts";

describeFaults(
  "an agent that is killed or stopped at a line of its gate",
  ({ fault }) =>
    "victim" in fault && (fault.victim === "source-agent" || fault.victim === "destination-agent"),
);

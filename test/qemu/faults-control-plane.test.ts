import { describeFaults } from "./fault-suite.ts";

describeFaults(
  "a coordinator or nats-server that is killed or stopped while an agent stands at a line of its gate",
  ({ fault }) => "victim" in fault && (fault.victim === "coordinator" || fault.victim === "nats-server"),
);

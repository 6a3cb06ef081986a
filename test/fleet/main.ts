import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { SwitchoverError } from "../../proto/error.ts";
import { FleetMember } from "./fleet-member.ts";
import type { FleetLine, FleetQuestion } from "./fleet-message.ts";

/** One process of a fleet: hosts by its flags, then a question a line on stdin and an answer a line on stdout. */
const { values } = parseArgs({
  options: {
    "nats-url": { type: "string", default: "" },
    member: { type: "string", default: "0" },
    hosts: { type: "string", default: "0" },
    port: { type: "string", default: "0" },
    seed: { type: "string", default: "1" },
    "copy-least-ms": { type: "string", default: "1000" },
    "copy-most-ms": { type: "string", default: "1000" },
    "pages-ms": { type: "string", default: "1000" },
  },
});

const member = await FleetMember.start({
  natsUrl: values["nats-url"],
  member: Number(values.member),
  hosts: Number(values.hosts),
  port: Number(values.port),
  seed: Number(values.seed),
  copyMs: [Number(values["copy-least-ms"]), Number(values["copy-most-ms"])],
  pagesMs: Number(values["pages-ms"]),
});
write({ t: "ready" });
let number = 0;
for await (const line of createInterface({ input: process.stdin })) {
  void answer(number, JSON.parse(line) as FleetQuestion);
  number += 1;
}
// Nobody asks any more.
process.exit(0);

async function answer(of: number, question: FleetQuestion): Promise<void> {
  try {
    write({ t: "answer", number: of, value: await member.answer(question) });
  } catch (thrown) {
    write({ t: "failed", number: of, sentence: SwitchoverError.from(thrown).message });
  }
}

function write(line: FleetLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

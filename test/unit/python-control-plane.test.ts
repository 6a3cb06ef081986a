/** A client in another language, with stubs that Debian's own tools make of the .proto files alone. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { repositoryRoot } from "../lab/repository-root.ts";
import { skipWithout } from "../resource.ts";
import { startAgentHere } from "./agent-here.ts";
import { launch, logLine, newFolder } from "./program-process.ts";

const run = promisify(execFile);
const PROTO_FOLDER = join(repositoryRoot(), "proto");
const SCRIPT = join(repositoryRoot(), "test/unit/python/control_plane.py");

async function generateStubs(folder: string): Promise<string> {
  const generated = join(folder, "generated");
  await mkdir(generated);
  const files = readdirSync(PROTO_FOLDER, { recursive: true, encoding: "utf8" });
  await run("/usr/bin/protoc", [
    `--proto_path=${PROTO_FOLDER}`,
    // Where Debian has the files of google.protobuf.
    "--proto_path=/usr/include",
    "--plugin=protoc-gen-grpc_python=/usr/bin/grpc_python_plugin",
    `--python_out=${generated}`,
    `--grpc_python_out=${generated}`,
    ...files.filter((file) => file.endsWith(".proto")),
  ]);
  return generated;
}

test("a control plane in Python moves a guest with the .proto files alone, and reads why it was refused", {
  skip: skipWithout("natsServer", "pythonGrpc"),
  timeout: 120_000,
}, async (t) => {
  const folder = await newFolder(t);
  const nats = ["--nats-listen", "127.0.0.1:0", "--data-dir", join(folder, "coordinator")];
  const coordinator = launch(t, "coordinator", ["--insecure-loopback", "--listen", "127.0.0.1:0", ...nats]);
  const [generated, { targets, nats_url: natsUrl }] = await Promise.all([
    generateStubs(folder),
    logLine(coordinator, "The coordinator listens."),
  ]);
  const agents = ["ha", "hb"].map((hostId) => startAgentHere(t, hostId, String(natsUrl), folder));
  const [target] = targets as readonly string[];
  const { stdout } = await run("/usr/bin/python3", [
    SCRIPT,
    generated,
    String(target),
    ...(await Promise.all(agents)),
  ]);
  assert.deepEqual(JSON.parse(stdout.trim().split("\n").at(-1) ?? ""), {
    refused: ["INVALID_ARGUMENT", "switchover", "REQUIRED", "spec.source_instance_id"],
    reused: ["ALREADY_EXISTS", "switchover", "REQUEST_REUSED", "request_id"],
    same: true,
    phases: [
      "PHASE_PENDING",
      "PHASE_PREPARING",
      "PHASE_TRANSFERRING",
      "PHASE_SWITCHING_OVER",
      "PHASE_COMPLETING",
      "PHASE_COMPLETED",
    ],
    outcome: "OUTCOME_RUNS_ON_DESTINATION",
  });
});

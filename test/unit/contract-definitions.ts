import { fileURLToPath } from "node:url";
import { loadSync, type PackageDefinition } from "@grpc/proto-loader";

/** The folder of the contract's files, seen from the compiled file (dist/test/unit). */
const PROTO_FOLDER = fileURLToPath(new URL("../../../proto/", import.meta.url));

const CONTRACT_FILES = [
  "switchover/v1/host_agent_service.proto",
  "switchover/v1/migration_service.proto",
  "switchover/v1/record.proto",
  "google/rpc/status.proto",
  "google/rpc/error_details.proto",
];

/** The whole contract as proto-loader reads the .proto files themselves, as a client of another make does. */
export function loadContract(): PackageDefinition {
  return loadSync(CONTRACT_FILES, {
    includeDirs: [PROTO_FOLDER],
    keepCase: true,
    longs: String,
    enums: String,
    oneofs: true,
    defaults: true,
  });
}

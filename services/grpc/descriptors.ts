import { fileURLToPath } from "node:url";
import { loadSync, type PackageDefinition } from "@grpc/proto-loader";

/** The folder of the contract's files, seen from the compiled file (dist/services/grpc). */
const PROTO_FOLDER = fileURLToPath(new URL("../../../proto/", import.meta.url));

const CONTRACT_FILES = [
  "switchover/v1/host_agent_service.proto",
  "switchover/v1/migration_service.proto",
  "switchover/v1/record.proto",
  "google/rpc/status.proto",
  "google/rpc/error_details.proto",
];

/** The descriptors of the whole contract, parsed from proto/ (reads files; call it once at start). */
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

import { readFileSync } from "node:fs";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import type { PackageDefinition } from "@grpc/proto-loader";

/** The contract as buf has compiled it, comments included, seen from the compiled file (dist/services/grpc). */
const CONTRACT_FILE = new URL("../../proto/contract.binpb", import.meta.url);

/**
 * What server reflection is to show (reads a file; call it once at start). proto-loader's own descriptors would not do: they
 * give the entries of a map a name that protoc, and what is made with it, refuse, and files without their imports.
 */
export function readDescribedContract(): PackageDefinition {
  const { file } = fromBinary(FileDescriptorSetSchema, readFileSync(CONTRACT_FILE));
  const fileDescriptorProtos = file.map((proto) => Buffer.from(toBinary(FileDescriptorProtoSchema, proto)));
  // Reflection asks for the files alone, of whatever definition.
  const format = "Protocol Buffer 3 EnumDescriptorProto";
  return { contract: { format, type: {}, fileDescriptorProtos } };
}

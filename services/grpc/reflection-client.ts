import { fileURLToPath } from "node:url";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { type Client, type ClientDuplexStream, Metadata, type ServiceError } from "@grpc/grpc-js";
import {
  loadFileDescriptorSetFromBuffer,
  loadSync,
  type PackageDefinition,
  type ServiceDefinition,
} from "@grpc/proto-loader";
import { SwitchoverError } from "../../proto/error.ts";
import { fromGrpcError } from "./status.ts";

/** How the values of a message look to whoever uses what `readReflection` returns. */
const AS_TEXTS = { longs: String, enums: String, bytes: String, oneofs: true, json: true } as const;

interface Answer {
  readonly list_services_response?: { readonly service?: readonly { readonly name: string }[] };
  readonly file_descriptor_response?: { readonly file_descriptor_proto?: readonly Uint8Array[] };
  readonly error_response?: { readonly error_message: string };
}

/** What a server serves. */
export interface Reflection {
  /** Full names; `definitions` may have services that others serve. */
  readonly services: readonly string[];
  readonly definitions: PackageDefinition;
}

/**
 * What a server says of the services that it serves, by gRPC server reflection (grpc.reflection.v1): they and all messages
 * that they need. Fields have the names of the .proto files; 64-bit numbers, enums and bytes are texts, and each oneof
 * has its own name with the field that is set. Throws SwitchoverError: UNIMPLEMENTED / NO_REFLECTION where the server
 * serves none, DEADLINE_EXCEEDED after `timeoutMs`.
 */
export async function readReflection(client: Client, timeoutMs: number): Promise<Reflection> {
  const { path, requestSerialize, responseDeserialize } = reflectionMethod();
  const deadline = Date.now() + timeoutMs;
  const stream = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, new Metadata(), {
    deadline,
  });
  // Cancelling after all was heard emits a last error, which nobody else listens to then.
  stream.on("error", () => {});
  try {
    const answers = stream[Symbol.asyncIterator]() as AsyncIterator<Answer>;
    const { list_services_response: list } = await ask(stream, answers, { list_services: "" });
    const services = (list?.service ?? []).map(({ name }) => name);
    const files = new Map<string, Uint8Array>();
    for (const name of services) {
      const { file_descriptor_response: found } = await ask(stream, answers, {
        file_containing_symbol: name,
      });
      for (const file of found?.file_descriptor_proto ?? [])
        files.set(Buffer.from(file).toString("latin1"), file);
    }
    const definitions = loadFileDescriptorSetFromBuffer(descriptorSetOf([...files.values()]), AS_TEXTS);
    return { services, definitions };
  } catch (thrown) {
    throw thrown instanceof SwitchoverError ? thrown : notReflected(thrown);
  } finally {
    stream.cancel();
  }
}

function reflectionMethod() {
  const contract = loadSync("grpc/reflection/v1/reflection.proto", {
    includeDirs: [fileURLToPath(new URL("../proto", import.meta.resolve("@grpc/reflection")))],
    keepCase: true,
  });
  const service = contract["grpc.reflection.v1.ServerReflection"] as ServiceDefinition | undefined;
  const method = service?.ServerReflectionInfo;
  if (method !== undefined) return method;
  throw new SwitchoverError("INTERNAL", "The contract of server reflection is not there.", {
    reason: "UNEXPECTED",
  });
}

/** The server answers each question before it hears the next one. */
async function ask(
  stream: ClientDuplexStream<object, object>,
  answers: AsyncIterator<Answer>,
  question: object,
): Promise<Answer> {
  stream.write(question);
  const { value, done } = await answers.next();
  if (done === true || value.error_response !== undefined) {
    const why = done === true ? "it ended the call" : value.error_response?.error_message;
    throw new SwitchoverError("INTERNAL", `The server does not describe its services: ${why}.`, {
      reason: "REFLECTION_FAILED",
    });
  }
  return value;
}

/** google.protobuf.FileDescriptorSet: `repeated FileDescriptorProto file = 1`. */
function descriptorSetOf(files: readonly Uint8Array[]): Buffer {
  const writer = new BinaryWriter();
  for (const file of files) writer.uint32((1 << 3) | 2).bytes(file);
  return Buffer.from(writer.finish());
}

function notReflected(thrown: unknown): SwitchoverError {
  const error = fromGrpcError(thrown as ServiceError);
  if (error.code !== "UNIMPLEMENTED") return error;
  const sentence = "The server serves no reflection (grpc.reflection.v1): what it serves is not known.";
  return new SwitchoverError("UNIMPLEMENTED", sentence, { reason: "NO_REFLECTION", cause: thrown });
}

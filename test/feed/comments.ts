import type { DescEnum, DescEnumValue, DescField, DescMessage } from "@bufbuild/protobuf";

/** Field numbers of descriptor.proto, which say where in a file something is. */
const MESSAGES_OF_FILE = 4;
const ENUMS_OF_FILE = 5;
const FIELDS_OF_MESSAGE = 2;
const VALUES_OF_ENUM = 2;

type Described = DescMessage | DescEnum | DescField | DescEnumValue;

/** What the contract's author wrote above it, as one line; empty where that is nothing. Of what is nested nothing is known. */
export function commentOf(described: Described): string {
  const path = pathOf(described).join();
  const { file } =
    described.kind === "field" || described.kind === "enum_value" ? described.parent : described;
  const location = file.proto.sourceCodeInfo?.location.find((place) => place.path.join() === path);
  return (location?.leadingComments ?? "").trim().replace(/\s*\n\s*/g, " ");
}

function pathOf(described: Described): readonly number[] {
  switch (described.kind) {
    case "message":
      return [MESSAGES_OF_FILE, described.file.proto.messageType.indexOf(described.proto)];
    case "enum":
      return [ENUMS_OF_FILE, described.file.proto.enumType.indexOf(described.proto)];
    case "field":
      return [
        ...pathOf(described.parent),
        FIELDS_OF_MESSAGE,
        described.parent.proto.field.indexOf(described.proto),
      ];
    case "enum_value":
      return [
        ...pathOf(described.parent),
        VALUES_OF_ENUM,
        described.parent.proto.value.indexOf(described.proto),
      ];
  }
}

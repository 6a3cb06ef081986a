import { invalidArgument } from "../../proto/error.ts";

/** IFNAMSIZ less the final zero. */
const MAX_DEVICE_NAME_BYTES = 15;
/** What `dev_valid_name` of the kernel refuses, and what no shell or log can show. */
const BAD_IN_DEVICE_NAME = /[^\x21-\x7e]|[/:%]/;

/** Returns the name of a network device as the kernel takes it, or throws INVALID_ARGUMENT naming `field`. */
export function parseDeviceName(text: string, field: string): string {
  if (text === "") throw invalidArgument(field, "A device name is required.", "REQUIRED");
  if (text.length > MAX_DEVICE_NAME_BYTES) {
    throw invalidArgument(
      field,
      `"${text.slice(0, 64)}" is longer than the ${MAX_DEVICE_NAME_BYTES} characters of a device name.`,
      "DEVICE_NAME_TOO_LONG",
    );
  }
  if (text === "." || text === ".." || BAD_IN_DEVICE_NAME.test(text)) {
    throw invalidArgument(field, `${JSON.stringify(text)} is not a device name.`);
  }
  return text;
}

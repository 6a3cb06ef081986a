import { invalidArgument } from "../../proto/error.ts";

/** A whole number's type, with its least and greatest value. */
const WHOLE: Readonly<Record<string, readonly [bigint, bigint]>> = {
  int32: [-(1n << 31n), (1n << 31n) - 1n],
  sint32: [-(1n << 31n), (1n << 31n) - 1n],
  sfixed32: [-(1n << 31n), (1n << 31n) - 1n],
  uint32: [0n, (1n << 32n) - 1n],
  fixed32: [0n, (1n << 32n) - 1n],
  int64: [-(1n << 63n), (1n << 63n) - 1n],
  sint64: [-(1n << 63n), (1n << 63n) - 1n],
  sfixed64: [-(1n << 63n), (1n << 63n) - 1n],
  uint64: [0n, (1n << 64n) - 1n],
  fixed64: [0n, (1n << 64n) - 1n],
};

/** A scalar of proto3 JSON as proto-loader takes it: whole numbers as texts; INVALID_ARGUMENT for any other value. Pure. */
export function scalarFromJson(value: unknown, type: string, at: string): unknown {
  const bounds = WHOLE[type];
  if (bounds !== undefined) return wholeFromJson(value, bounds, type, at);
  switch (type) {
    case "bool":
      if (typeof value === "boolean") return value;
      throw wrongType(value, "true or false", at);
    case "string":
      if (typeof value === "string") return value;
      throw wrongType(value, "a text", at);
    case "bytes":
      if (typeof value === "string" && isBase64(value)) return value;
      throw wrongType(value, "bytes in base64", at);
    default:
      if (typeof value === "number") return value;
      if (value === "NaN" || value === "Infinity" || value === "-Infinity") return Number(value);
      throw wrongType(value, "a number", at);
  }
}

function wholeFromJson(
  value: unknown,
  [least, most]: readonly [bigint, bigint],
  type: string,
  at: string,
): string {
  if (typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value)) {
    throw invalidArgument(
      at,
      `${at}: a number of that size has to be a text, in quotes, to be taken as it is.`,
    );
  }
  const text = typeof value === "number" || typeof value === "string" ? String(value) : "";
  if (!/^-?\d{1,20}$/.test(text)) throw wrongType(value, "a whole number", at);
  const number = BigInt(text);
  if (number >= least && number <= most) return text;
  throw invalidArgument(
    at,
    `${at}: ${text} is no ${type}, which goes from ${least} to ${most}.`,
    "OUT_OF_RANGE",
  );
}

function isBase64(text: string): boolean {
  return /^[A-Za-z0-9+/_-]*={0,2}$/.test(text);
}

function wrongType(value: unknown, wanted: string, at: string) {
  return invalidArgument(at, `${at}: ${JSON.stringify(value)} is not ${wanted}.`);
}

import { isIP } from "node:net";
import { isAbsolute, resolve } from "node:path";
import { invalidArgument } from "../../proto/error.ts";
import { LOG_LEVELS, type LogLevel } from "../log/log.ts";

/** Parsers of what operators write. Each throws INVALID_ARGUMENT with a sentence that says what would be right. */

const HOST_PORT = /^(\[[0-9a-fA-F:.%a-z]+\]|[^:\s[\]/]+):(\d{1,5})$/;

/** `host:port` (port 0: any free one) or `unix:/path`. */
export function parseTarget(text: string, field: string): string {
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    if (isAbsolute(path)) return text;
    throw invalidArgument(
      field,
      `${field}: "${text}" needs an absolute path, as in unix:/run/switchover.sock.`,
    );
  }
  const port = HOST_PORT.exec(text)?.[2];
  if (port !== undefined && Number(port) <= 65_535) return text;
  throw invalidArgument(field, `${field}: "${text}" is neither HOST:PORT nor unix:/PATH.`);
}

/** `nats://host:port`, or several separated by commas. */
export function parseNatsUrl(text: string, field: string): string {
  for (const part of text.split(",")) {
    if (!URL.canParse(part.trim()) || !/^(nats|tls):\/\/[^/]/.test(part.trim())) {
      throw invalidArgument(field, `${field}: "${text}" is not a NATS address like nats://10.0.0.1:4222.`);
    }
  }
  return text;
}

/** IPv4 or IPv6 address. */
export function parseAddress(text: string, field: string): string {
  if (isIP(text) !== 0) return text;
  throw invalidArgument(field, `${field}: "${text}" is not an IP address.`);
}

/** `address:port` with an IP address; port 0: any free one. */
export function parseAddressAndPort(text: string, field: string): { address: string; port: number } {
  const match = HOST_PORT.exec(text);
  const address = match?.[1]?.replace(/^\[|\]$/g, "") ?? text;
  const port = Number(match?.[2] ?? 4222);
  if (isIP(address) !== 0 && port <= 65_535) return { address, port };
  throw invalidArgument(field, `${field}: "${text}" is neither ADDRESS nor ADDRESS:PORT.`);
}

/** Where something listens; port 0: any free one. */
export interface SocketAddress {
  readonly address: string;
  readonly port: number;
}

/** As `parseAddressAndPort`, with no port that goes without saying. */
export function parseSocketAddress(text: string, field: string): SocketAddress {
  if (HOST_PORT.test(text)) return parseAddressAndPort(text, field);
  throw invalidArgument(field, `${field}: "${text}" is not ADDRESS:PORT.`);
}

/** A path; one that is not absolute is taken from the working directory. */
export function parsePath(text: string, field: string): string {
  if (text === "") throw invalidArgument(field, `${field} must name a path.`);
  return resolve(text);
}

export function parseLogLevel(text: string, field: string): LogLevel {
  const level = LOG_LEVELS.find((candidate) => candidate === text);
  if (level !== undefined) return level;
  throw invalidArgument(field, `${field}: "${text}" is none of ${LOG_LEVELS.join(", ")}.`);
}

/** A whole number from `least` to `most`. */
export function parseWhole(least: number, most: number): (text: string, field: string) => number {
  return (text, field) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw invalidArgument(field, `${field}: "${text}" is not a whole number from ${least} to ${most}.`);
  };
}

const BYTE_FACTORS: Readonly<Record<string, bigint>> = {
  "": 1n,
  K: 1n << 10n,
  M: 1n << 20n,
  G: 1n << 30n,
};

/** Bytes: digits, then nothing, K, M or G (powers of 1024). */
export function parseBytes(text: string, field: string): bigint {
  const match = /^(\d{1,12})([KMG]?)$/.exec(text);
  const factor = BYTE_FACTORS[match?.[2] ?? "-"];
  if (match?.[1] !== undefined && factor !== undefined) return BigInt(match[1]) * factor;
  throw invalidArgument(field, `${field}: "${text}" is not a number of bytes like 30M.`);
}

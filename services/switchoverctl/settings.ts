import { invalidArgument } from "../../proto/error.ts";
import { MigrationMode } from "../../proto/gen/switchover/v1/migration.ts";
import { parseTarget } from "../config/parsers.ts";
import type { Values } from "../config/read-settings.ts";
import { onOff, withDefault } from "../config/setting.ts";
import { WATCH_UNREACHABLE_S } from "./coordinator-client.ts";

/** Flags and help of every command. */
export const COMMON_SETTINGS = {
  coordinator: withDefault(parseTarget, "127.0.0.1:7440", {
    placeholder: "TARGET",
    help: "Coordinator, HOST:PORT or unix:/PATH",
  }),
  json: onOff("Print proto3 JSON, one migration a line"),
};

export type CommonValues = Values<typeof COMMON_SETTINGS>;

export const COMMON_ENVIRONMENT = ["coordinator"];

/** Where a command stays until the migration has ended, or got to where it was asked to be. */
export const STAYING = `Where no coordinator answers meanwhile it tries on for ${WATCH_UNREACHABLE_S} s.`;

export function parseMode(text: string, field: string): MigrationMode {
  if (text === "live") return MigrationMode.LIVE;
  if (text === "post-copy") return MigrationMode.POST_COPY;
  throw invalidArgument(field, `${field}: "${text}" is neither live nor post-copy.`);
}

export function parsePriority(text: string, field: string): number {
  const priority = /^-?\d{1,3}$/.test(text) ? Number(text) : Number.NaN;
  if (Math.abs(priority) <= 100) return priority;
  throw invalidArgument(field, `${field}: "${text}" is not a whole number from -100 to 100.`);
}

export function parseRequestId(text: string, field: string): string {
  if (/^[A-Za-z0-9_-]{1,63}$/.test(text)) return text;
  throw invalidArgument(field, `${field}: "${text}" is not 1 to 63 letters, digits, "_" or "-".`);
}

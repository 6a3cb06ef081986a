/** What a reader made of proto3 JSON. */
export interface ReadJson<T> {
  readonly value: T;
  /** Enum values that this program does not know, each once: they are read as UNSPECIFIED. */
  readonly unknownValues: readonly string[];
}

/** The readers that ts-proto generates say it like this. */
const UNRECOGNIZED = /^Unrecognized enum value (\S+) for enum /;
/** Of one message; more are not proto3 JSON of a newer program. */
const UNKNOWN_AT_MOST = 64;

/**
 * Reads proto3 JSON as a program of a later version may have written it, with enums by name: fields that are not known are left out, enum
 * values that are not known count as UNSPECIFIED, and are named. Throws what `fromJson` throws for anything else.
 */
export function readJson<T>(json: unknown, fromJson: (json: unknown) => T): ReadJson<T> {
  const unknownValues: string[] = [];
  for (let known = json; ; ) {
    try {
      return { value: fromJson(known), unknownValues };
    } catch (thrown) {
      const text = thrown instanceof Error ? UNRECOGNIZED.exec(thrown.message)?.[1] : undefined;
      if (text === undefined || unknownValues.includes(text) || unknownValues.length >= UNKNOWN_AT_MOST) {
        throw thrown;
      }
      unknownValues.push(text);
      known = without(known, text);
    }
  }
}

/** The same with UNSPECIFIED, which is 0 in every enum, in place of the value. */
function without(json: unknown, text: string): unknown {
  if (json === text) return 0;
  if (Array.isArray(json)) return json.map((item) => without(item, text));
  if (typeof json !== "object" || json === null) return json;
  return Object.fromEntries(Object.entries(json).map(([key, value]) => [key, without(value, text)]));
}

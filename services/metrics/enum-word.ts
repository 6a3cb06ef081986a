/** An enum's value as documents write it: proto's name without its type before it (`PHASE_AMBIGUOUS`: AMBIGUOUS). */
export function enumWord(prefix: string, jsonName: string): string {
  return jsonName.startsWith(prefix) ? jsonName.slice(prefix.length) : jsonName;
}

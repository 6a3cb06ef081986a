/** A word of an agent's that makes a command due. */
export interface SaidWord {
  readonly word: "active" | "handOffAwaited" | "cpusStarted" | "completed";
  readonly guestId: string;
}

const WORD =
  /"(?<event>cpusStarted|handOffAwaited)":|"transferStatusChanged":\{"status":"(?<status>active|completed)"/;
const ABOUT = /"guestId":"(?<guestId>[^"]+)","hostId":"[^"]*","instanceId":"(?<instanceId>[^"]+)"/;

/**
 * The words in what an agent appends to its spool, which is where they are said: before they are synced, and heard by
 * anybody. Of a transfer's statuses, the source's "active" and the destination's "completed" make commands due.
 */
export function wordsIn(appended: string, isAtSource: (instanceId: string) => boolean): readonly SaidWord[] {
  return appended.split("\n").flatMap((line) => {
    const said = WORD.exec(line)?.groups;
    const about = ABOUT.exec(line)?.groups;
    if (said === undefined || about === undefined) return [];
    const { guestId = "", instanceId = "" } = about;
    const word = (said.event ?? said.status) as SaidWord["word"];
    const isOthers =
      word === "active" ? !isAtSource(instanceId) : word === "completed" && isAtSource(instanceId);
    return isOthers ? [] : [{ word, guestId }];
  });
}

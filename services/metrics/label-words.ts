/** Words of one label; what comes beyond is OTHER. More than any release has reasons, phases, methods or errnos. */
const WORDS_AT_MOST = 128;
const WORD = /^[\w.:-]{1,64}$/;
const NO_WORD = "NONE";
const OTHER = "OTHER";

/**
 * The values that a label may take, so that no caller and no newer program can make metrics without end: words of the
 * contract, at most 128 of them. What is no word, or comes beyond, is OTHER; an empty text is NONE.
 */
export class LabelWords {
  readonly #known = new Set<string>();

  admit(text: string): string {
    if (text === "") return NO_WORD;
    if (this.#known.has(text)) return text;
    if (this.#known.size >= WORDS_AT_MOST || !WORD.test(text)) return OTHER;
    this.#known.add(text);
    return text;
  }
}

import { createInterface } from "node:readline/promises";
import type { Readable, Writable } from "node:stream";

/**
 * Has a person confirm a statement by typing "yes". False for any other answer, and without asking where `input` is no
 * terminal, for then nobody has read it.
 */
export async function confirm(
  statement: string,
  input: Readable & { readonly isTTY?: boolean },
  output: Writable,
): Promise<boolean> {
  if (input.isTTY !== true) return false;
  const reader = createInterface({ input, output });
  try {
    const answer = await Promise.race([
      reader.question(`${statement}\nType "yes" to state this: `),
      // An end of the input answers nothing.
      new Promise<string>((resolve) => reader.once("close", () => resolve(""))),
    ]);
    return answer.trim() === "yes";
  } finally {
    reader.close();
  }
}

/** The text with the user and password of any address in it struck out. */
export function withoutCredentials(text: string): string {
  return text.replace(/\/\/[^@/\s,]*@/g, "//***@");
}

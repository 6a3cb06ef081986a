/** `SWITCHING_OVER` is "switching over". */
export function wordOf(names: Readonly<Record<string, number>>, value: number): string {
  const name = Object.keys(names).find((candidate) => names[candidate] === value) ?? String(value);
  return name.toLowerCase().replaceAll("_", " ");
}

export function millisecondsText(us: bigint): string {
  return (Number(us) / 1_000).toFixed(3);
}

import { createServer } from "node:net";

/** Below those that Linux gives to outgoing connections: a port of a killed program is free when its successor comes. */
const LOWEST = 20_000;
const HIGHEST = 32_000;

/** So many ports of 127.0.0.1 that nobody listens on now. `random` is in [0, 1). */
export async function findFreePorts(count: number, random: () => number = Math.random): Promise<number[]> {
  const found = new Set<number>();
  while (found.size < count) {
    const port = LOWEST + Math.floor(random() * (HIGHEST - LOWEST));
    if (!found.has(port) && (await isFree(port))) found.add(port);
  }
  return [...found];
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

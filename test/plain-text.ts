import { PLAINTEXT } from "../services/tls/security.ts";

/** How a test's own channel reaches a program of the same host that was told `--insecure-loopback`. */
export const PLAIN = { security: PLAINTEXT, peer: { roles: [] } } as const;

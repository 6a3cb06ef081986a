export const EINTR = 4;
export const EAGAIN = 11;
export const ENOBUFS = 105;

/** The error numbers that this agent tells apart (Linux, all architectures that Node runs on but MIPS). */
const ERRNO_NAMES = {
  1: "EPERM",
  2: "ENOENT",
  3: "ESRCH",
  [EINTR]: "EINTR",
  6: "ENXIO",
  [EAGAIN]: "EAGAIN",
  12: "ENOMEM",
  13: "EACCES",
  16: "EBUSY",
  17: "EEXIST",
  19: "ENODEV",
  22: "EINVAL",
  24: "EMFILE",
  28: "ENOSPC",
  34: "ERANGE",
  95: "EOPNOTSUPP",
  97: "EAFNOSUPPORT",
  98: "EADDRINUSE",
  99: "EADDRNOTAVAIL",
  100: "ENETDOWN",
  101: "ENETUNREACH",
  [ENOBUFS]: "ENOBUFS",
  110: "ETIMEDOUT",
  113: "EHOSTUNREACH",
} as const satisfies Readonly<Record<number, string>>;

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(ERRNO_NAMES).map(([number, name]) => [Number(number), name]),
);

/** The name of an error number, or `errno 123` where it is none that this agent tells apart. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `errno ${errno}`;
}

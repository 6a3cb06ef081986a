/**
 * The system calls of this agent: the only file that knows koffi.
 *
 * Each function returns what the call returned, or the negative error number. Nothing here throws, blocks longer
 * than the call itself, or keeps a buffer.
 */
import koffi from "koffi";

/** Flags of `recv`. */
export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;

/** Operations of `flock`. */
export const LOCK_EX = 2;
export const LOCK_NB = 4;

const SOCK_FPROG_BYTES = 16;

const libc = koffi.load(null);

const socketCall = libc.func("int socket(int domain, int type, int protocol)");
const bindCall = libc.func("int bind(int fd, const void *address, uint32_t length)");
const setsockoptCall = libc.func(
  "int setsockopt(int fd, int level, int name, const void *value, uint32_t length)",
);
const setsockoptFilterCall = libc.func("setsockopt", "int", [
  "int",
  "int",
  "int",
  koffi.pointer(koffi.struct("sock_fprog", { length: "uint16_t", filter: "const void *" })),
  "uint32_t",
]);
const sendCall = libc.func("intptr_t send(int fd, const void *bytes, size_t length, int flags)");
const recvCall = libc.func("intptr_t recv(int fd, void *bytes, size_t length, int flags)");
const getsockoptCall = libc.func(
  "int getsockopt(int fd, int level, int name, void *value, _Inout_ uint32_t *length)",
);
const fcntlCall = libc.func("int fcntl(int fd, int command, intptr_t argument)");
const flockCall = libc.func("int flock(int fd, int operation)");
const closeCall = libc.func("int close(int fd)");
const ioctlPointerCall = libc.func("ioctl", "int", ["int", "unsigned long", "void *"]);
const ioctlNumberCall = libc.func("ioctl", "int", ["int", "unsigned long", "intptr_t"]);

export function socket(domain: number, type: number, protocol: number): number {
  return orErrno(socketCall(domain, type, protocol));
}

export function bind(fd: number, address: Uint8Array): number {
  return orErrno(bindCall(fd, address, address.length));
}

export function setsockopt(fd: number, level: number, name: number, value: Uint8Array): number {
  return orErrno(setsockoptCall(fd, level, name, value, value.length));
}

/** `setsockopt` with a `struct sock_fprog` of the instructions, 8 bytes each. */
export function setsockoptFilter(fd: number, level: number, name: number, instructions: Uint8Array): number {
  const program = { length: instructions.length / 8, filter: instructions };
  return orErrno(setsockoptFilterCall(fd, level, name, program, SOCK_FPROG_BYTES));
}

/** Writes into `into`; returns how many bytes the option has. */
export function getsockopt(fd: number, level: number, name: number, into: Uint8Array): number {
  const length = [into.length];
  const result = orErrno(getsockoptCall(fd, level, name, into, length));
  return result < 0 ? result : (length[0] ?? 0);
}

/** `fcntl` with a number in place of the pointer. */
export function fcntl(fd: number, command: number, argument: number): number {
  return orErrno(fcntlCall(fd, command, argument));
}

export function flock(fd: number, operation: number): number {
  return orErrno(flockCall(fd, operation));
}

export function send(fd: number, bytes: Uint8Array, flags: number): number {
  return orErrno(sendCall(fd, bytes, bytes.length, flags));
}

/** Writes into `into`, which the kernel may fill up to its length. */
export function recv(fd: number, into: Uint8Array, flags: number): number {
  return orErrno(recvCall(fd, into, into.length, flags));
}

/** `send` in another thread; `bytes` are the call's until it is done. */
export function sendElsewhere(fd: number, bytes: Uint8Array, flags: number): Promise<number> {
  return elsewhere((done) => sendCall.async(fd, bytes, bytes.length, flags, done));
}

/** `recv` in another thread; `into` is the call's until it is done. */
export function recvElsewhere(fd: number, into: Uint8Array, flags: number): Promise<number> {
  return elsewhere((done) => recvCall.async(fd, into, into.length, flags, done));
}

/** The thread's errno is there in the callback, and no later. */
function elsewhere(call: (done: (error: Error | null, result: number) => void) => void): Promise<number> {
  return new Promise((resolve, reject) => {
    call((error, result) => (error === null ? resolve(orErrno(result)) : reject(error)));
  });
}

export function close(fd: number): number {
  return orErrno(closeCall(fd));
}

/** Closes in another thread, and says nothing of it. */
export function closeElsewhere(fd: number): void {
  closeCall.async(fd, () => {});
}

/** `ioctl` with a structure, which the kernel may change. */
export function ioctlWithBytes(fd: number, request: number, argument: Uint8Array): number {
  return orErrno(ioctlPointerCall(fd, request, argument));
}

/** `ioctl` with a number in place of the pointer. */
export function ioctlWithNumber(fd: number, request: number, argument: number): number {
  return orErrno(ioctlNumberCall(fd, request, argument));
}

function orErrno(result: number): number {
  return result < 0 ? -koffi.errno() : result;
}

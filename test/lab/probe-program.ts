/**
 * Sends ICMP echo requests at a fixed interval and writes when each left and when its reply came.
 *
 *     node probe-program.js <target address> <interval in microseconds>
 *
 * stdout: `s <seq> <unix us>` for each request, `r <seq> <unix us>` for each reply, `f <token>` when all
 * before a line `<token>` on stdin is written. Ends when stdin closes. A process of its own, with one blocking
 * loop: an event loop shared with anything else would put its own pauses into the measurement.
 */
import { readSync, writeSync } from "node:fs";
import koffi from "koffi";
import { unixMicros } from "./realtime-clock.ts";

const AF_INET = 2;
const SOCK_RAW = 3;
const IPPROTO_ICMP = 1;
const MSG_DONTWAIT = 0x40;
const POLLIN = 1;
const ICMP_ECHO_REPLY = 0;
const ICMP_ECHO_REQUEST = 8;
const STDIN = 0;
const STDOUT = 1;
/** Replies may wait for output that long; requests and times never do. */
const WRITE_EVERY_US = 50_000;
/** After a pause longer than this (a stopped process) the schedule starts anew, not with a burst. */
const RESCHEDULE_AFTER_US = 500_000;

const libc = koffi.load("libc.so.6");
const openSocket = libc.func("int socket(int domain, int type, int protocol)");
const connectSocket = libc.func("int connect(int fd, const uint8_t *address, uint32_t length)");
const send = libc.func("intptr_t send(int fd, const uint8_t *bytes, size_t length, int flags)");
const receive = libc.func("intptr_t recv(int fd, _Out_ uint8_t *bytes, size_t length, int flags)");
const ppoll = libc.func("int ppoll(_Inout_ uint8_t *fds, size_t count, const int64_t *timeout, void *mask)");

const [target = "", intervalText = ""] = process.argv.slice(2);
run(target, Number(intervalText));

function run(address: string, intervalUs: number): void {
  const fd: number = openSocket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
  const octets = address.split(".").map(Number);
  const socketAddress = Uint8Array.from([AF_INET, 0, 0, 0, ...octets, 0, 0, 0, 0, 0, 0, 0, 0]);
  if (fd < 0 || connectSocket(fd, socketAddress, socketAddress.length) !== 0) {
    process.stderr.write(`No raw socket to ${address}: errno ${koffi.errno()}\n`);
    process.exit(1);
  }
  const identifier = process.pid & 0xffff;
  const pollFds = new Uint8Array(16);
  const pollView = new DataView(pollFds.buffer);
  const timeout = new BigInt64Array(2);
  const packet = new Uint8Array(2048);
  let output = "";
  let seq = 0;
  let nextSendUs = unixMicros();
  let writtenUs = nextSendUs;
  for (;;) {
    const nowUs = unixMicros();
    if (nowUs >= nextSendUs) {
      // The kernel's refusal to send (link down, no buffers) is a lost probe like any other.
      send(fd, echoRequest(identifier, seq), 16, MSG_DONTWAIT);
      output += `s ${seq} ${nowUs}\n`;
      seq += 1;
      nextSendUs = nowUs - nextSendUs > RESCHEDULE_AFTER_US ? nowUs + intervalUs : nextSendUs + intervalUs;
    }
    pollView.setInt32(0, fd, true);
    pollView.setUint32(4, POLLIN, true);
    pollView.setInt32(8, STDIN, true);
    pollView.setUint32(12, POLLIN, true);
    timeout[1] = BigInt(Math.max(0, nextSendUs - unixMicros()) * 1000);
    timeout[0] = 0n;
    ppoll(pollFds, 2, timeout, null);
    if (pollView.getUint16(6, true) !== 0) output += readReplies(fd, packet, identifier);
    const flushTokens = pollView.getUint16(14, true) === 0 ? [] : readTokens();
    if (flushTokens === "closed") return;
    for (const token of flushTokens) output += `f ${token}\n`;
    if (output !== "" && (flushTokens.length > 0 || unixMicros() - writtenUs > WRITE_EVERY_US)) {
      writeAll(output);
      output = "";
      writtenUs = unixMicros();
    }
  }
}

/** Type, code, checksum, identifier, 16 bit of sequence; then the whole sequence, which does not wrap. */
function echoRequest(identifier: number, seq: number): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, ICMP_ECHO_REQUEST);
  view.setUint16(4, identifier);
  view.setUint16(6, seq & 0xffff);
  view.setUint32(8, seq);
  let sum = 0;
  for (let offset = 0; offset < bytes.length; offset += 2) sum += view.getUint16(offset);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(2, ~sum & 0xffff);
  return bytes;
}

function readReplies(fd: number, packet: Uint8Array, identifier: number): string {
  const view = new DataView(packet.buffer);
  let lines = "";
  for (;;) {
    const length = Number(receive(fd, packet, packet.length, MSG_DONTWAIT));
    if (length < 0) return lines;
    const header = (view.getUint8(0) & 0x0f) * 4;
    if (length < header + 16) continue;
    if (view.getUint8(header) !== ICMP_ECHO_REPLY || view.getUint16(header + 4) !== identifier) continue;
    lines += `r ${view.getUint32(header + 8)} ${unixMicros()}\n`;
  }
}

function readTokens(): readonly string[] | "closed" {
  const bytes = new Uint8Array(4096);
  const length = readSync(STDIN, bytes);
  if (length === 0) return "closed";
  return new TextDecoder()
    .decode(bytes.subarray(0, length))
    .split("\n")
    .filter((token) => token !== "");
}

function writeAll(text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let offset = 0; offset < bytes.length; ) {
    try {
      offset += writeSync(STDOUT, bytes, offset);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== "EAGAIN") throw cause;
    }
  }
}

/**
 * A fresh network namespace around a test: the test's thread, and the programs it starts, live in it.
 */
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import koffi from "koffi";

const CLONE_NEWNET = 0x40000000;
const setns = koffi.load(null).func("int setns(int fd, int type)");

/** On an emulated machine of a busy host a program takes seconds. */
const TIMEOUT_MS = 60_000;

let created = 0;

/** Runs `body` in a namespace of its own, which is deleted afterwards, whatever happens in it. */
export async function inNetworkNamespace(body: (namespace: string) => void | Promise<void>): Promise<void> {
  const namespace = addNamespace();
  const outer = fs.openSync("/proc/thread-self/ns/net", "r");
  try {
    enterPath(`/run/netns/${namespace}`);
    await body(namespace);
  } finally {
    enter(outer);
    fs.closeSync(outer);
    run("ip", "netns", "del", namespace);
  }
}

/** Makes another namespace for the time of `body`, without entering it. */
export async function withAnotherNamespace(body: (namespace: string) => void | Promise<void>): Promise<void> {
  const namespace = addNamespace();
  try {
    await body(namespace);
  } finally {
    run("ip", "netns", "del", namespace);
  }
}

/** Runs `body`, which waits for nothing, in another namespace than the thread's. */
export function within<T>(namespace: string, body: () => T): T {
  const outer = fs.openSync("/proc/thread-self/ns/net", "r");
  try {
    enterPath(`/run/netns/${namespace}`);
    return body();
  } finally {
    enter(outer);
    fs.closeSync(outer);
  }
}

/** Runs a program in the thread's network namespace and returns what it prints; throws where it fails. */
export function run(program: string, ...args: readonly string[]): string {
  return execFileSync(program, args, {
    encoding: "utf8",
    timeout: TIMEOUT_MS,
    stdio: ["ignore", "pipe", "pipe"],
  });
}

function addNamespace(): string {
  const namespace = `swtest-${process.pid}-${++created}`;
  run("ip", "netns", "add", namespace);
  return namespace;
}

function enterPath(path: string): void {
  const fd = fs.openSync(path, "r");
  try {
    enter(fd);
  } finally {
    fs.closeSync(fd);
  }
}

function enter(fd: number): void {
  if (setns(fd, CLONE_NEWNET) !== 0) throw new Error(`setns failed: errno ${koffi.errno()}`);
}

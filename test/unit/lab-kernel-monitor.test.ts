import assert from "node:assert/strict";
import { test } from "node:test";
import { readCpuList } from "../lab/witness/monitor-program.ts";
import { UnanimousLines } from "../lab/witness/unanimous-lines.ts";

type Told = readonly [line: string, atUnixUs: number];

function toldOf(programs: number, heard: readonly (readonly [program: number, ...Told])[]): readonly Told[] {
  const told: Told[] = [];
  const lines = new UnanimousLines(programs, (line, atUnixUs) => told.push([line, atUnixUs]));
  for (const [program, line, atUnixUs] of heard) lines.hear(program, line, atUnixUs);
  return told;
}

test("a line is told once, when all have said it, with the stamp of whoever was first", () => {
  const heard = [
    [0, "a", 10],
    [0, "b", 20],
    [1, "a", 12],
    [1, "b", 18],
  ] as const;
  assert.deepEqual(toldOf(2, heard.slice(0, 2)), []);
  assert.deepEqual(toldOf(2, heard), [
    ["a", 10],
    ["b", 18],
  ]);
});

test("one line said again is told again, each time with its own stamps", () => {
  assert.deepEqual(
    toldOf(2, [
      [0, "a", 10],
      [0, "a", 30],
      [1, "a", 11],
      [1, "a", 29],
    ]),
    [
      ["a", 10],
      ["a", 29],
    ],
  );
});

test("lines that two programs say in different orders are all told, each with its own stamps", () => {
  assert.deepEqual(
    toldOf(2, [
      [0, "a", 10],
      [0, "b", 11],
      [1, "b", 9],
      [1, "a", 12],
    ]),
    [
      ["b", 9],
      ["a", 10],
    ],
  );
});

test("a single program is told as it speaks", () => {
  assert.deepEqual(toldOf(1, [[0, "a", 10]]), [["a", 10]]);
});

for (const [status, cpus] of [
  ["Name:\tnode\nCpus_allowed_list:\t0-1\nMems_allowed_list:\t0\n", [0, 1]],
  ["Cpus_allowed_list:\t3,5-6\n", [3, 5, 6]],
  ["Cpus_allowed_list:\t7\n", [7]],
  ["Name:\tnode\n", [0]],
] as const) {
  test(`the CPUs of ${JSON.stringify(status)} are ${cpus.join(", ")}`, () => {
    assert.deepEqual(readCpuList(status), cpus);
  });
}

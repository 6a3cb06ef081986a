import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { encodeQmpCommand, parseQmpLine, QmpLineSplitter } from "../../agent/vmm/qmp-codec.ts";
import { SwitchoverError } from "../../proto/error.ts";

function linesOf(chunks: readonly Uint8Array[], maxLineBytes?: number): string[] {
  const lines: string[] = [];
  const splitter = new QmpLineSplitter(maxLineBytes);
  for (const chunk of chunks) splitter.push(chunk, (line) => lines.push(line));
  return lines;
}

function reasonOf(thrown: unknown): string {
  assert.ok(thrown instanceof SwitchoverError, String(thrown));
  return thrown.reason;
}

describe("the line splitter", () => {
  it("finds the same lines however the bytes are cut into chunks", () => {
    const line = fc.string({ unit: "grapheme", maxLength: 40 }).map((text) => JSON.stringify(text));
    fc.assert(
      fc.property(fc.array(line), fc.array(fc.nat(500)), (lines, cuts) => {
        const bytes = Buffer.from(lines.map((text) => `${text}\r\n`).join(""));
        const edges = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
        const chunks = edges.slice(1).map((edge, index) => bytes.subarray(edges[index], edge));
        assert.deepEqual(linesOf(chunks), lines);
      }),
    );
  });

  it("skips blank lines and keeps a line that has not ended", () => {
    assert.deepEqual(linesOf([Buffer.from("\r\n\n{}\n{")]), ["{}"]);
  });

  it("accepts a line of the greatest length and refuses one byte more", () => {
    const tenBytes = Buffer.from("0123456789");
    assert.deepEqual(linesOf([tenBytes, Buffer.from("\n")], 10), ["0123456789"]);
    assert.throws(
      () => linesOf([tenBytes, Buffer.from("x")], 10),
      (thrown) => reasonOf(thrown) === "QMP_LINE_TOO_LONG",
    );
  });
});

describe("the message parser", () => {
  it("reads a greeting", () => {
    const line =
      '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": ["oob"]}}';
    assert.deepEqual(parseQmpLine(line), {
      kind: "greeting",
      version: { major: 7, minor: 2, micro: 22, packageText: "Debian" },
      capabilities: ["oob"],
    });
  });

  it("reads a return and an error with their ids", () => {
    assert.deepEqual(parseQmpLine('{"return": {}, "id": 4}'), { kind: "return", id: 4, value: {} });
    assert.deepEqual(parseQmpLine('{"id": 5, "error": {"class": "GenericError", "desc": "no"}}'), {
      kind: "error",
      id: 5,
      errorClass: "GenericError",
      desc: "no",
    });
  });

  it("gives an answer without an id no id, as QEMU sends for a command that it could not read", () => {
    assert.deepEqual(parseQmpLine('{"error": {"class": "GenericError", "desc": "JSON parse error"}}'), {
      kind: "error",
      id: undefined,
      errorClass: "GenericError",
      desc: "JSON parse error",
    });
  });

  it("reads an event with QEMU's time in microseconds", () => {
    const line = '{"timestamp": {"seconds": 1795455106, "microseconds": 318496}, "event": "STOP"}';
    assert.deepEqual(parseQmpLine(line), {
      kind: "event",
      name: "STOP",
      data: {},
      atUnixUs: 1_795_455_106_318_496,
    });
  });

  it("gives an event no time where QEMU could not read its clock", () => {
    const message = parseQmpLine('{"timestamp": {"seconds": -1, "microseconds": -1}, "event": "STOP"}');
    assert.equal(message.kind === "event" ? message.atUnixUs : 0, undefined);
  });

  for (const line of [
    "",
    "null",
    "[]",
    "{}",
    '{"error": 1}',
    '{"error": {"class": 1, "desc": ""}}',
    '{"event": 1}',
    '{"event": "STOP", "data": 1}',
    '{"QMP": null}',
  ]) {
    it(`refuses ${line === "" ? "an empty line" : line}`, () => {
      assert.throws(
        () => parseQmpLine(line),
        (thrown) => reasonOf(thrown) === "QMP_MALFORMED",
      );
    });
  }

  it("throws nothing but QMP_MALFORMED whatever the line says", () => {
    const nearlyQmp = fc.record(
      {
        QMP: fc.jsonValue(),
        return: fc.jsonValue(),
        error: fc.jsonValue(),
        event: fc.jsonValue(),
        id: fc.jsonValue(),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          nearlyQmp.map((value) => JSON.stringify(value)),
        ),
        (line) => {
          try {
            parseQmpLine(line);
          } catch (thrown) {
            assert.equal(reasonOf(thrown), "QMP_MALFORMED");
          }
        },
      ),
      { numRuns: 2_000 },
    );
  });
});

describe("the command encoder", () => {
  it("writes one line, in-band or out-of-band", () => {
    assert.equal(encodeQmpCommand("in-band", "cont", undefined, 7), '{"execute":"cont","id":7}\n');
    assert.equal(
      encodeQmpCommand("out-of-band", "migrate-recover", { uri: "tcp:[::1]:0" }, 8),
      '{"exec-oob":"migrate-recover","arguments":{"uri":"tcp:[::1]:0"},"id":8}\n',
    );
  });
});

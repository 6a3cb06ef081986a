import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { SwitchoverError } from "../../proto/error.ts";
import { lockFolder } from "../../services/folder/lock-folder.ts";

const REASON = "STATE_DIR_IN_USE";
const FIELD = "--state-dir";
const IN_USE = { code: "FAILED_PRECONDITION", reason: REASON, field: FIELD };
const lock = (path: string) => lockFolder(path, { field: FIELD, holder: "agent", reason: REASON });

describe("the lock of a folder", () => {
  let folder = "";
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "switchover-lock-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it("is held by one, by whatever name the folder is reached, until it is released", () => {
    const held = lock(folder);
    const link = join(folder, "link");
    symlinkSync(folder, link);
    for (const path of [folder, link]) assert.throws(() => lock(path), IN_USE);
    held.release();
    const next = lock(link);
    held.release();
    assert.throws(() => lock(folder), IN_USE);
    next.release();
  });

  it("leaves nothing in the folder", () => {
    lock(folder).release();
    assert.deepEqual(readdirSync(folder), []);
  });

  it("names who holds it, where that can be seen", () => {
    const held = lock(folder);
    assert.throws(
      () => lock(folder),
      (thrown) => {
        assert.ok(thrown instanceof SwitchoverError);
        const { pid } = thrown.metadata;
        assert.ok(pid === undefined || pid === String(process.pid), pid);
        const who = pid === undefined ? "another agent" : `another agent, process ${pid}`;
        assert.equal(thrown.message, `${FIELD}: the folder ${folder} is in use by ${who}.`);
        return true;
      },
    );
    held.release();
  });

  it("cannot be had of what is not there", () => {
    const refused = { code: "UNAVAILABLE", reason: "FOLDER_UNLOCKABLE" };
    assert.throws(() => lock(join(folder, "absent")), refused);
  });
});

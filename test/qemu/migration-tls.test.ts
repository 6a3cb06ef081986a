/** The migration stream between real QEMUs, secured as agents secure it; and strangers who connect first. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { connect as connectPlain, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { connect } from "node:tls";
import { migrationUriOf } from "../../agent/vmm/migration-address.ts";
import type { TransferTls } from "../../agent/vmm/transfer-tls.ts";
import { type HostId, parseHostId } from "../../proto/ids.ts";
import { pollUntil } from "../lab/deadline.ts";
import { skipWithout } from "../resource.ts";
import { TrialPki } from "../trial-pki.ts";
import {
  type BarePair,
  destinationReady,
  type MigrationMode,
  statusAfter,
  withBarePair,
} from "./qmp-bare-migration.ts";
import { isKind, isStatus } from "./qmp-bare-qemu.ts";

const [HA, HB, HC] = ["ha", "hb", "hc"].map((name) => parseHostId(name, "host")) as [HostId, HostId, HostId];
/** QEMU's file format, version 3: how a stream of a guest begins. */
const STREAM_BEGINS = Buffer.from(`QEVM\0\0\0\x03${"\0".repeat(64)}`, "latin1");

describe("the migration stream", { skip: skipWithout("qemu"), timeout: 300_000 }, () => {
  let pki: TrialPki;

  before(async () => {
    pki = await TrialPki.make(await mkdtemp(join(tmpdir(), "switchover-migration-pki-")));
    for (const host of [HA, HB, HC]) await pki.run("issue", "migration", host);
  });
  after(() => rm(pki.folder, { recursive: true, force: true }));

  const folderOf = (host: HostId): string => join(pki.folder, "migration", host);
  const tlsOf = (side: TransferTls["side"], own: HostId, peer: HostId): TransferTls => ({
    side,
    peer,
    certificates: { folder: folderOf(own), subject: "OU=migration,CN={host}" },
  });

  /** Host hb waits for a guest of host ha, as its agent has it wait; returns the port. */
  async function openDestination({ source, destination }: BarePair, mode: MigrationMode): Promise<number> {
    const capabilities = [
      { capability: "events", enabled: true },
      { capability: "postcopy-ram", enabled: mode === "post-copy" },
    ] as const;
    for (const { vmm } of [source, destination]) await vmm.setMigrationCapabilities(capabilities);
    await destination.vmm.stop();
    await destination.vmm.secureTransfer(tlsOf("destination", HB, HA));
    await destination.vmm.migrateIncoming("tcp:127.0.0.1:0");
    const [address] = (await destination.vmm.queryMigrate()).addresses;
    assert.ok(address?.kind === "inet");
    assert.equal(migrationUriOf(address), `tcp:127.0.0.1:${address.port}`);
    return address.port;
  }

  /** Host ha sends the guest, until the destination may start it. */
  async function send(pair: BarePair, port: number, mode: MigrationMode): Promise<void> {
    const { source } = pair;
    await source.vmm.secureTransfer(tlsOf("source", HA, HB));
    await source.vmm.setMigrationParameters({ downtimeLimitMs: 100 });
    if (mode === "post-copy") await source.vmm.setMigrationParameters({ maxBandwidthBytesPerSecond: 60_000 });
    const from = source.events.length;
    await source.vmm.migrate(`tcp:127.0.0.1:${port}`);
    await source.eventAt(isStatus("active"), from);
    if (mode === "post-copy") {
      await source.vmm.migrateStartPostcopy();
      await source.vmm.setMigrationParameters({ maxPostcopyBandwidthBytesPerSecond: 0 });
    }
    assert.equal((await destinationReady(pair, mode)).runState, "paused");
    await pair.destination.vmm.cont();
    await source.eventAt(isStatus("completed"), from, 60_000);
    assert.equal((await statusAfter(source, "finish-migrate")).runState, "postmigrate");
    assert.equal((await pair.destination.vmm.queryStatus()).running, true);
  }

  /** Where the guest stays, whoever it was that could not send or receive it. */
  async function assertRunsOn({ source, destination }: BarePair): Promise<void> {
    const status = await pollUntil(
      async () => {
        const read = await source.vmm.queryStatus();
        return read.running ? read : undefined;
      },
      10_000,
      "The source's guest",
    );
    assert.equal(status.runState, "running");
    assert.equal((await destination.vmm.queryStatus()).runState, "inmigrate");
  }

  for (const mode of ["live", "post-copy"] as const) {
    it(`refuses strangers who connect before the source, and then takes the guest, ${mode}`, async () => {
      await withBarePair(async (pair) => {
        const port = await openDestination(pair, mode);
        await refusedPlain(port);
        await refusedTls(port, {});
        await refusedTls(port, clientOf(folderOf(HC)));
        const { runState, running } = await pair.destination.vmm.queryStatus();
        assert.deepEqual([runState, running], ["inmigrate", false]);
        const said = pair.destination.process.stderrText();
        assert.match(said, /No certificate was found/);
        assert.match(said, /authz check for OU=migration,CN=hc is denied/);
        await send(pair, port, mode);
      });
    });
  }

  it("is not taken from another host of the same authority, and the guest runs on where it was", async () => {
    await withBarePair(async (pair) => {
      const port = await openDestination(pair, "live");
      await pair.source.vmm.secureTransfer(tlsOf("source", HC, HB));
      await pair.source.vmm.migrate(`tcp:127.0.0.1:${port}`);
      await pair.source.eventAt(isStatus("failed"));
      await assertRunsOn(pair);
      await send(pair, port, "live");
    });
  });

  it("is sent to nobody but the destination's host, nor without TLS to one that wants it", async () => {
    await withBarePair(async (pair) => {
      const port = await openDestination(pair, "live");
      await pair.source.vmm.migrate(`tcp:127.0.0.1:${port}`);
      await pair.source.eventAt(isStatus("failed"));
      await assertRunsOn(pair);
      const from = pair.source.events.length;
      await pair.source.vmm.secureTransfer(tlsOf("source", HA, HC));
      await pair.source.vmm.migrate(`tcp:127.0.0.1:${port}`);
      await pair.source.eventAt(isStatus("failed"), from);
      const { errorDesc = "" } = await pair.source.vmm.queryMigrate();
      assert.match(errorDesc, /does not match the hostname hc/);
      // The destination let host ha in, which then left: QEMU ends a destination whose stream breaks.
      assert.equal((await pair.source.vmm.queryStatus()).running, true);
      assert.deepEqual(pair.source.events.filter(isKind("stop")), []);
    });
  });

  it("waits for a stranger who says nothing only as long as he stays, and stops no guest meanwhile", async () => {
    await withBarePair(async (pair) => {
      const port = await openDestination(pair, "live");
      const silent = connectPlain(port, "127.0.0.1").on("error", () => {});
      await once(silent, "connect");
      const answered = await pair.destination.vmm.queryStatus({ timeoutMs: 500 }).then(
        () => "answers",
        () => "is silent",
      );
      assert.equal((await pair.source.vmm.queryStatus()).running, true);
      silent.destroy();
      await pollUntil(
        () => pair.destination.vmm.queryStatus().catch(() => undefined),
        10_000,
        `The destination's monitor, which ${answered} beside a silent stranger`,
      );
      await send(pair, port, "live");
    });
  });

  it("is refused before it begins where the files cannot be used", async () => {
    await withBarePair(async ({ destination, source }) => {
      const nowhere = {
        ...tlsOf("destination", HB, HA),
        certificates: { folder: "/nowhere", subject: "CN={host}" },
      };
      await assert.rejects(destination.vmm.secureTransfer(nowhere), {
        code: "FAILED_PRECONDITION",
        reason: "QMP_REFUSED",
        message: /\/nowhere\/ca-cert\.pem/,
      });
      assert.equal((await source.vmm.queryStatus()).running, true);
      assert.deepEqual(source.events.filter(isKind("stop")), []);
    });
  });
});

function clientOf(folder: string) {
  const read = (name: string): Buffer => readFileSync(join(folder, name));
  return { cert: read("client-cert.pem"), key: read("client-key.pem") };
}

async function refusedPlain(port: number): Promise<void> {
  const socket = connectPlain(port, "127.0.0.1");
  socket.write(STREAM_BEGINS);
  assert.equal(await bytesUntilClosed(socket), 0);
}

async function refusedTls(port: number, certificate: object): Promise<void> {
  const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false, ...certificate });
  socket.write(STREAM_BEGINS);
  assert.equal(await bytesUntilClosed(socket), 0);
}

/** What the other side sent before it closed the connection, which must be within 5 s. */
function bytesUntilClosed(socket: Socket): Promise<number> {
  return new Promise((resolve, reject) => {
    let bytes = 0;
    const timer = setTimeout(() => reject(new Error("The connection was not closed.")), 5_000);
    socket.on("data", (part) => (bytes += part.length));
    socket.on("error", () => {});
    socket.on("close", () => {
      clearTimeout(timer);
      resolve(bytes);
    });
  });
}

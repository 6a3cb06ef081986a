import assert from "node:assert/strict";
import { test } from "node:test";
import type { MessageTypeDefinition, ServiceDefinition } from "@grpc/proto-loader";
import { AnnouncementsEndedBy, FeedEvent, HandOffRoute } from "../../proto/gen/switchover/v1/feed.ts";
import { HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import {
  HostAgentServiceService,
  PrepareNicsRequest,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { MigrationMode, Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import {
  MigrationServiceService,
  StartMigrationRequest,
} from "../../proto/gen/switchover/v1/migration_service.ts";
import { EntryMobility, MacTableManager, NicDefinition } from "../../proto/gen/switchover/v1/nic.ts";
import { GuestRecord } from "../../proto/gen/switchover/v1/record.ts";
import { loadContract } from "./contract-definitions.ts";

/** The generated code and the .proto files must be one contract: bytes of one read by the other. */
const contract = loadContract();

interface GeneratedType<T> {
  encode(message: T): { finish(): Uint8Array };
  decode(bytes: Uint8Array): T;
  fromJSON(object: unknown): T;
  toJSON(message: T): unknown;
}

function crossBothWays<T>(name: string, type: GeneratedType<T>, message: T): void {
  const loaded = contract[`switchover.v1.${name}`] as MessageTypeDefinition<object, object>;
  const bytes = Buffer.from(type.encode(message).finish());
  const seen = loaded.deserialize(bytes);
  assert.deepEqual(type.decode(loaded.serialize(seen)), message, "what proto-loader writes, ts-proto reads");
  assert.deepEqual(
    type.fromJSON(JSON.parse(JSON.stringify(type.toJSON(message)))),
    message,
    "proto3 JSON round trip",
  );
}

const fence = { epoch: 2n ** 64n - 1n, revision: 7n };
const handOff = HandOff.create({
  migrationId: "web-7-mk3v0q8ya1z9",
  guestId: "web-7",
  sourceHostId: "ha",
  sourceInstanceId: "i1",
  destinationHostId: "hb",
  fence,
  runState: "running",
  stoppedAtUnixUs: 1_790_000_000_000_001n,
  deregisteredAtUnixUs: 1_790_000_000_000_413n,
  journaledAtUnixUs: 1_790_000_000_002_310n,
});
const spec = {
  guestId: "web-7",
  sourceHostId: "ha",
  sourceInstanceId: "",
  destinationHostId: "hb",
  destinationInstanceId: "i2",
  mode: MigrationMode.POST_COPY,
  transfer: {
    maxBandwidthBytesPerSecond: 2n ** 40n,
    downtimeLimitMs: 100,
    multifdChannels: 0,
    autoConverge: true,
    maxPostCopyBandwidthBytesPerSecond: 0n,
  },
  postCopy: { trigger: { $case: "afterPasses" as const, value: 2 } },
  labels: { team: "blue", "drain/of": "ha" },
  priority: -7,
  deadline: { afterMs: 60_000, action: 2 as const },
};

test("StartMigrationRequest is the same to generated code and descriptors", () => {
  crossBothWays("StartMigrationRequest", StartMigrationRequest, {
    requestId: "r-1",
    spec,
    validateOnly: true,
  });
});

test("PrepareNicsRequest is the same to generated code and descriptors", () => {
  const nic = NicDefinition.fromPartial({
    nicId: "net0",
    macAddress: "52:54:00:12:34:56",
    guestAddresses: ["10.0.0.5", "2001:db8::5"],
    device: {
      $case: "tapOnBridge",
      value: {
        deviceName: "tap0",
        bridge: "br0",
        macTableManager: MacTableManager.SWITCHOVER,
        entryMobility: EntryMobility.ROAMING,
      },
    },
  });
  const request = { guestId: "web-7", instanceId: "i1", nics: [nic, nic], validateOnly: true };
  crossBothWays("PrepareNicsRequest", PrepareNicsRequest, request);
});

test("FeedEvent is the same to generated code and descriptors, whatever happened", () => {
  const clockOffset = { destinationAheadUs: -7n, errorUs: 3n, measuredAtUnixUs: 5n, roundTrips: 4 };
  const base = {
    migrationId: handOff.migrationId,
    guestId: "web-7",
    hostId: "hb",
    instanceId: "i2",
    fence,
    sequence: 3n,
    atUnixUs: 1_790_000_000_000_000n,
    traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    tracestate: "rojo=00f067aa0ba902b7",
  };
  const events: FeedEvent["event"][] = [
    { $case: "handOffReceived", value: { handOff, route: HandOffRoute.NATS } },
    {
      $case: "phaseChanged",
      value: { from: Phase.PENDING, to: Phase.FAILED, outcome: Outcome.GUEST_LOST, reason: "x", clockOffset },
    },
    { $case: "alarmRaised", value: { reason: "A_B", sentence: "Größe.", metadata: { a: "1" } } },
    {
      $case: "announced",
      value: {
        round: 2,
        announcedAtUnixUs: 1n,
        endedBy: AnnouncementsEndedBy.EVIDENCE,
        frames: { reverseArp: 1, arp: 2, neighbourAdvertisements: 0 },
        firstFrames: [{ nicId: "net0", atUnixUs: 2n }],
      },
    },
    { $case: "cpusStarted", value: { contSentAtUnixUs: 0n, resumedAtUnixUs: -1n } },
  ];
  for (const event of events) crossBothWays("FeedEvent", FeedEvent, { ...base, event });
});

test("GuestRecord is the same to generated code and descriptors", () => {
  const record = GuestRecord.create({
    guestId: "web-7",
    epoch: fence.epoch,
    revision: 9n,
    migration: {
      migration: {
        migrationId: handOff.migrationId,
        requestId: "r-1",
        spec,
        fence,
        phase: Phase.SWITCHING_OVER,
      },
      source: { instanceId: "i1", done: ["PREFLIGHT"], runState: "running" },
      handOff,
      heardSequences: { ha: 12n, hb: 2n ** 63n },
    },
    requests: [{ requestId: "r-1", migrationId: handOff.migrationId }],
  });
  crossBothWays("GuestRecord", GuestRecord, record);
});

test("every method is declared idempotent, so that clients may repeat it", () => {
  for (const name of ["HostAgentService", "MigrationService"]) {
    const service = contract[`switchover.v1.${name}`] as ServiceDefinition;
    for (const [method, { options }] of Object.entries(service)) {
      assert.notEqual(options?.idempotency_level ?? "IDEMPOTENCY_UNKNOWN", "IDEMPOTENCY_UNKNOWN", method);
    }
  }
});

test("generated stubs and descriptors name the same methods", () => {
  for (const [name, stubs] of Object.entries({
    HostAgentService: HostAgentServiceService,
    MigrationService: MigrationServiceService,
  })) {
    const service = contract[`switchover.v1.${name}`] as ServiceDefinition;
    const shapes = (methods: Record<string, { path: string; responseStream: boolean }>) =>
      Object.values(methods).map(({ path, responseStream }) => `${path} ${responseStream}`);
    assert.deepEqual(shapes(stubs).sort(), shapes(service).sort());
  }
});

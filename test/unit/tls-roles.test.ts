/** Who may call what, over real connections with real certificates; and whom a channel takes for whom. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { MethodDefinition } from "@grpc/grpc-js";
import { service as health } from "grpc-health-check";
import { readReflection } from "../../services/grpc/reflection-client.ts";
import { callUnary } from "../../services/grpc/unary.ts";
import { identityIn } from "../../services/tls/identity.ts";
import { PERMISSIONS, ROLES } from "../../services/tls/roles.ts";
import { newFolder } from "./program-process.ts";
import { openTlsGround, openUnchecked, outcomeOf, SERVICES } from "./tls-call.ts";

type Method = MethodDefinition<never, unknown>;

/** Methods of a service by the names of their handlers. */
function methodsOf(service: keyof typeof SERVICES): readonly (readonly [string, Method])[] {
  return Object.entries(SERVICES[service].definition) as unknown as readonly (readonly [string, Method])[];
}

describe("roles", { timeout: 60_000 }, () => {
  test("each role calls what the table allows it, and is refused everything else", async (t) => {
    const ground = await openTlsGround(t);
    for (const role of ROLES) {
      const client = await ground.channel(role);
      for (const service of ["migrations", "host"] as const) {
        const allowed: readonly string[] = PERMISSIONS[role][service];
        for (const [name, method] of methodsOf(service)) {
          const expected = allowed.includes(name) ? "OK" : "PERMISSION_DENIED ROLE_MAY_NOT";
          assert.equal(await outcomeOf(client, method), expected, `${role} ${name}`);
        }
      }
    }
  });

  test("every method is somebody's to call", () => {
    for (const service of ["migrations", "host"] as const) {
      const allowed = new Set<string>(ROLES.flatMap((role) => PERMISSIONS[role][service]));
      const nobodys = methodsOf(service).filter(([name]) => !allowed.has(name));
      assert.deepEqual(nobodys, []);
    }
  });

  test("only coordinators arm and bring words, observers only read, agents call nobody", () => {
    const words = [
      "armSource",
      "prepareDestination",
      "beginTransfer",
      "deliverHandOff",
      "getHandOff",
    ] as const;
    for (const role of ROLES) {
      const holds = words.filter((word) => PERMISSIONS[role].host.includes(word));
      assert.deepEqual(holds, role === "coordinator" ? words : [], role);
    }
    const { migrations, host } = PERMISSIONS.observer;
    const writes = [...migrations, ...host].filter((name) => !/^(get|list|watch|describe)/.test(name));
    assert.deepEqual(writes, []);
    assert.deepEqual(PERMISSIONS.agent, { migrations: [], host: [] });
  });

  test("a refusal says who was refused what, and is in the log once for many", async (t) => {
    const ground = await openTlsGround(t);
    const client = await ground.channel("observer", "dash");
    const call = () =>
      callUnary(
        client,
        SERVICES.migrations.definition.cancelMigration,
        { migrationId: "x" },
        {
          timeoutMs: 5_000,
        },
      );
    for (let times = 0; times < 9; times += 1) {
      await assert.rejects(call, {
        code: "PERMISSION_DENIED",
        reason: "ROLE_MAY_NOT",
        message: "spiffe://switchover.test/observer/dash may not call CancelMigration.",
        metadata: {
          caller: "spiffe://switchover.test/observer/dash",
          role: "observer",
          method: "CancelMigration",
        },
      });
    }
    const audits = ground.recorded.lines.filter(({ audit }) => audit === "call-refused");
    assert.deepEqual(
      audits.map(({ times }) => times),
      [1, 2, 4, 8],
    );
    assert.equal(audits[0]?.caller, "spiffe://switchover.test/observer/dash");
  });

  test("health and reflection answer every role, an agent's too", async (t) => {
    const ground = await openTlsGround(t);
    const client = await ground.channel("agent", "hz");
    const answer = (await callUnary(client, health.Check as never, { service: "" } as never, {
      timeoutMs: 5_000,
    })) as { status: string };
    assert.equal(answer.status, "SERVING");
    const { services } = await readReflection(client, 5_000);
    assert.ok(services.includes(SERVICES.host.name));
  });

  test("a certificate of the CA that names nobody is let in, and may call nothing", async (t) => {
    const ground = await openTlsGround(t);
    const armSource = SERVICES.host.definition.armSource as unknown as Method;
    for (const names of ["DNS:ha", "URI:spiffe://other.test/coordinator/c1"]) {
      const client = openUnchecked(t, ground.target, await ground.pki.sign("odd", names));
      assert.equal(await outcomeOf(client, armSource), "UNAUTHENTICATED NO_IDENTITY", names);
    }
    const callers = ground.recorded.lines.filter(({ reason }) => reason === "NO_IDENTITY");
    assert.deepEqual(
      callers.map(({ caller }) => caller),
      ["nobody", "spiffe://other.test/coordinator/c1"],
    );
  });

  test("a channel to one host's agent takes nobody else for it", async (t) => {
    const ground = await openTlsGround(t);
    const describeHost = SERVICES.host.definition.describe as unknown as Method;
    const wrong = await ground.channel("coordinator", "c1", { roles: ["agent"], name: "hb" });
    await assert.rejects(callUnary(wrong, describeHost, {} as never, { timeoutMs: 5_000 }), {
      code: "UNAVAILABLE",
      message:
        /certificate of the called side is that of spiffe:\/\/switchover\.test\/agent\/ha, not of .*\/agent\/hb/,
    });
    const asCoordinator = await ground.channel("observer", "o1", { roles: ["coordinator"] });
    assert.equal(await outcomeOf(asCoordinator, describeHost), "UNAVAILABLE GRPC_UNAVAILABLE");
    const right = await ground.channel("coordinator", "c2", { roles: ["agent"], name: "ha" });
    assert.equal(await outcomeOf(right, describeHost), "OK");
  });

  test("over a unix socket it is the same", async (t) => {
    const ground = await openTlsGround(t, `unix:${await newFolder(t)}/agent.sock`);
    const observer = await ground.channel("observer");
    const methods = SERVICES.host.definition;
    assert.equal(await outcomeOf(observer, methods.getGuest as unknown as Method), "OK");
    assert.equal(
      await outcomeOf(observer, methods.armSource as unknown as Method),
      "PERMISSION_DENIED ROLE_MAY_NOT",
    );
  });
});

test("an identity is read of one URI that is ours, and of nothing that only looks like it", () => {
  const agent = { trustDomain: "cloud.example", role: "agent", name: "ha" };
  assert.deepEqual(identityIn("URI:spiffe://cloud.example/agent/ha"), agent);
  assert.deepEqual(identityIn("DNS:ha, URI:spiffe://cloud.example/agent/ha, IP Address:10.0.0.1"), agent);
  for (const names of [
    undefined,
    "",
    "DNS:ha",
    "DNS:spiffe://cloud.example/agent/ha",
    "URI:spiffe://cloud.example/agent/ha, URI:spiffe://cloud.example/operator/ha",
    "URI:spiffe://cloud.example/root/ha",
    "URI:spiffe://cloud.example/agent/ha/x",
    "URI:spiffe://cloud.example/agent/",
    "URI:spiffe://cloud.example/agent/a.b",
    "URI:spiffe://Cloud.example/agent/ha",
    "URI:https://cloud.example/agent/ha",
    'DNS:"x, URI:spiffe://cloud.example/operator/a, y"',
    "URI:spiffe://cloud.example/agent/ha\n",
  ]) {
    assert.equal(identityIn(names), undefined, String(names));
  }
});

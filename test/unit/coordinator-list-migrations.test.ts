import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { listMigrations } from "../../coordinator/inventory/list-migrations.ts";
import { MigrationRole } from "../../proto/gen/switchover/v1/guest.ts";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import {
  ListMigrationsRequest,
  type ListMigrationsResponse,
  MigrationFilter,
  Standing,
} from "../../proto/gen/switchover/v1/migration_service.ts";
import { MemoryCatalogue } from "./coordinator-memory-catalogue.ts";

const T0 = 1_795_456_900_000;

function listed({ migrations }: ListMigrationsResponse): string[] {
  return migrations.map(({ migrationId }) => migrationId);
}

function ask(
  catalogue: MemoryCatalogue,
  filter: Partial<MigrationFilter> = {},
  rest: Partial<ListMigrationsRequest> = {},
): Promise<ListMigrationsResponse> {
  return listMigrations(
    catalogue,
    ListMigrationsRequest.create({ filter: MigrationFilter.create(filter), ...rest }),
  );
}

/** All pages, with what happens between two of them. */
async function allPages(
  catalogue: MemoryCatalogue,
  filter: Partial<MigrationFilter>,
  pageSize: number,
  meanwhile: () => void = () => undefined,
): Promise<string[]> {
  const seen: string[] = [];
  let pageToken = "";
  for (let pages = 0; pages < 1_000; pages += 1) {
    const page = await ask(catalogue, filter, { pageSize, pageToken });
    assert.ok(page.migrations.length <= pageSize);
    seen.push(...listed(page));
    pageToken = page.nextPageToken;
    if (pageToken === "") return seen;
    meanwhile();
  }
  assert.fail("The pages have no end.");
}

describe("ListMigrations", () => {
  it("shows open and ended migrations once each, newest first, then by id", async () => {
    const catalogue = new MemoryCatalogue();
    const first = catalogue.begin("web-7", T0, 0.1);
    const second = catalogue.begin("web-7", T0 + 5, 0.1);
    const [low, high] = [catalogue.begin("a", T0 + 5, 0.2), catalogue.begin("b", T0 + 5, 0.1)];
    catalogue.archive("a");
    assert.deepEqual(listed(await ask(catalogue)), [second, high, low, first]);
  });

  it("ends without a token on the last page, and may be empty", async () => {
    const catalogue = new MemoryCatalogue();
    assert.deepEqual(await ask(catalogue), { migrations: [], nextPageToken: "" });
    catalogue.begin("web-7", T0, 0.1);
    assert.equal((await ask(catalogue, {}, { pageSize: 1 })).nextPageToken, "");
  });

  it("misses none and repeats none that was there all the time, whatever happens between pages", async () => {
    const happening = fc.record({
      t: fc.constantFrom("begin", "end", "archive"),
      guest: fc.nat(11),
      // A coordinator's clock may lie before what the list has shown already.
      atMs: fc.nat(400),
      random: fc.double({ min: 0, max: 0.999, noNaN: true }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(happening, { minLength: 1, maxLength: 60 }),
        fc.array(happening, { maxLength: 60 }),
        fc.integer({ min: 1, max: 7 }),
        fc.constantFrom("id", "content"),
        async (before, later, pageSize, judgedBy) => {
          const catalogue = new MemoryCatalogue();
          const begun = new Set<string>();
          const happen = ({ t, guest, atMs, random }: (typeof before)[number]) => {
            const guestId = `g${guest}`;
            if (t === "begin") begun.add(catalogue.begin(guestId, T0 + atMs, random));
            else if (t === "end") catalogue.enter(guestId, Phase.COMPLETED);
            else catalogue.archive(guestId);
          };
          before.forEach(happen);
          const there = [...begun];
          const rest = [...later];
          const meanwhile = () => rest.splice(0, 2).forEach(happen);
          catalogue.betweenPasses = meanwhile;
          const filter = judgedBy === "id" ? {} : { hostId: "ha" };
          const seen = await allPages(catalogue, filter, pageSize, meanwhile);
          assert.equal(new Set(seen).size, seen.length);
          assert.deepEqual(
            there.filter((migrationId) => !seen.includes(migrationId)),
            [],
          );
        },
      ),
      { numRuns: 300 },
    );
  });

  it("goes on where it was, also when the migration that it was at is kept no longer", async () => {
    const catalogue = new MemoryCatalogue();
    const ids = [0, 1, 2].map((index) => catalogue.begin("web-7", T0 + index, 0.1));
    const [oldest, middle, newest] = ids;
    const page = await ask(catalogue, {}, { pageSize: 2 });
    assert.deepEqual(listed(page), [newest, middle]);
    assert.ok(middle !== undefined);
    catalogue.forget(middle);
    const next = await ask(catalogue, {}, { pageSize: 2, pageToken: page.nextPageToken });
    assert.deepEqual(listed(next), [oldest]);
  });

  it("filters by guest, host and its role, phase, standing, labels and time", async () => {
    const catalogue = new MemoryCatalogue();
    const there = catalogue.begin("web-7", T0, 0.1, { labels: { team: "blue", drain: "ha" } });
    catalogue.enter("web-7", Phase.FAILED);
    const back = catalogue.begin("web-7", T0 + 10, 0.1, { sourceHostId: "hb", destinationHostId: "ha" });
    catalogue.enter("web-7", Phase.POST_COPY_PAUSED);
    const other = catalogue.begin("db-1", T0 + 20, 0.1, { destinationHostId: "hc", labels: { team: "red" } });
    const CASES: readonly (readonly [Partial<MigrationFilter>, readonly string[]])[] = [
      [{}, [other, back, there]],
      [{ guestId: "web-7" }, [back, there]],
      [{ guestId: "web" }, []],
      [{ hostId: "ha" }, [other, back, there]],
      [{ hostId: "hb" }, [back, there]],
      [{ hostId: "ha", hostRole: MigrationRole.SOURCE }, [other, there]],
      [{ hostId: "ha", hostRole: MigrationRole.DESTINATION }, [back]],
      [{ phases: [Phase.FAILED, Phase.PENDING] }, [other, there]],
      [{ standing: Standing.OPEN }, [other, back]],
      [{ standing: Standing.ENDED }, [there]],
      [{ labels: { team: "blue" } }, [there]],
      [{ labels: { team: "blue", drain: "hb" } }, []],
      [{ labels: { toString: "x" } }, []],
      [{ requestedAfterUnixUs: BigInt(T0) * 1_000n }, [other, back]],
      [{ requestedAfterUnixUs: BigInt(T0) * 1_000n - 1n }, [other, back, there]],
      [{ guestId: "web-7", hostId: "ha", standing: Standing.ENDED, labels: { drain: "ha" } }, [there]],
    ];
    for (const [filter, expected] of CASES) {
      assert.deepEqual(listed(await ask(catalogue, filter)), expected, JSON.stringify(Object.keys(filter)));
    }
  });

  it("reads a bounded part of the history for a page, and goes on from there with the next", async () => {
    const catalogue = new MemoryCatalogue();
    const rare = catalogue.begin("web-7", T0, 0.1, { labels: { rare: "yes" } });
    for (let index = 1; index <= 5_000; index += 1) catalogue.begin("web-7", T0 + index, 0.1);
    const page = await ask(catalogue, { labels: { rare: "yes" } }, { pageSize: 10 });
    assert.deepEqual(page.migrations, []);
    assert.notEqual(page.nextPageToken, "");
    assert.ok(catalogue.reads <= 2_016, `${catalogue.reads} reads`);
    assert.deepEqual(await allPages(catalogue, { labels: { rare: "yes" } }, 10), [rare]);
  });

  it("ends a page before it is too large for a message", async () => {
    const catalogue = new MemoryCatalogue();
    const labels = Object.fromEntries(
      Array.from({ length: 32 }, (_, index) => [`k${index}`, "v".repeat(127)]),
    );
    const count = 900;
    for (let index = 0; index < count; index += 1) catalogue.begin("web-7", T0 + index, 0.1, { labels });
    const page = await ask(catalogue, {}, { pageSize: 500 });
    assert.ok(page.migrations.length > 100 && page.migrations.length < 500, `${page.migrations.length}`);
    assert.equal((await allPages(catalogue, {}, 500)).length, count);
  });

  it("refuses what can never be, naming the field", async () => {
    const catalogue = new MemoryCatalogue();
    for (const [index] of Array.from({ length: 3 }).entries()) catalogue.begin(`g${index}`, T0, 0.1);
    const { nextPageToken: token } = await ask(catalogue, {}, { pageSize: 1 });
    const forged = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const CASES: readonly (readonly [
      string,
      string,
      Partial<MigrationFilter>,
      Partial<ListMigrationsRequest>,
    ])[] = [
      ["filter.guest_id", "MALFORMED", { guestId: "web.7" }, {}],
      ["filter.host_id", "MALFORMED", { hostId: "h/a" }, {}],
      ["filter.host_role", "REQUIRED", { hostRole: MigrationRole.SOURCE }, {}],
      ["filter.host_role", "UNKNOWN_VALUE", { hostId: "ha", hostRole: 9 as MigrationRole }, {}],
      ["filter.phases[1]", "REQUIRED", { phases: [Phase.FAILED, Phase.UNSPECIFIED] }, {}],
      ["filter.phases[0]", "UNKNOWN_VALUE", { phases: [99 as Phase] }, {}],
      ["filter.phases", "OUT_OF_RANGE", { phases: Array.from({ length: 17 }, () => Phase.FAILED) }, {}],
      ["filter.standing", "UNKNOWN_VALUE", { standing: 3 as Standing }, {}],
      ["filter.labels[ ]", "MALFORMED", { labels: { " ": "x" } }, {}],
      ["filter.requested_after_unix_us", "OUT_OF_RANGE", { requestedAfterUnixUs: -1n }, {}],
      ["page_size", "OUT_OF_RANGE", {}, { pageSize: 501 }],
      ["page_token", "MALFORMED", {}, { pageToken: "no token" }],
      ["page_token", "MALFORMED", {}, { pageToken: token.slice(0, -3) }],
      ["page_token", "MALFORMED", {}, { pageToken: forged({}) }],
      ["page_token", "MALFORMED", {}, { pageToken: forged([2, "web-7-mk3v0q8ya1z9", "x"]) }],
      ["page_token", "TOKEN_OF_OTHER_FILTER", { guestId: "g1" }, { pageToken: token }],
    ];
    for (const [field, reason, filter, rest] of CASES) {
      await assert.rejects(ask(catalogue, filter, rest), { code: "INVALID_ARGUMENT", reason, field });
    }
    const [form, , digest] = JSON.parse(Buffer.from(token, "base64url").toString()) as unknown[];
    const pageToken = forged([form, "no-id", digest]);
    await assert.rejects(ask(catalogue, {}, { pageToken }), { reason: "MALFORMED", field: "page_token" });
  });
});

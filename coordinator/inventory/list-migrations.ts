import { invalidArgument } from "../../proto/error.ts";
import { Migration } from "../../proto/gen/switchover/v1/migration.ts";
import {
  type ListMigrationsRequest,
  type ListMigrationsResponse,
  MigrationFilter,
} from "../../proto/gen/switchover/v1/migration_service.ts";
import type { RecordCatalogue } from "../record/record-catalogue.ts";
import { FirstOnes } from "./first-ones.ts";
import { comparePlaces, type ListPlace, placeOf } from "./list-order.ts";
import { type ParsedFilter, parseMigrationFilter } from "./migration-filter.ts";
import { decodePageToken, encodePageToken } from "./page-token.ts";

const PAGE_SIZE_DEFAULT = 100;
export const PAGE_SIZE_AT_MOST = 500;
/** Ended migrations that are read for one page, where their ids do not tell whether the filter lets them pass. */
const READS_AT_MOST = 2_000;
const READS_AT_ONCE = 16;
/** Half of what a gRPC message may be. */
const PAGE_BYTES_AT_MOST = 2 * 1024 * 1024;

/** A migration that may be of the page; without its content where only the history has that. */
interface Candidate extends ListPlace {
  readonly content: Migration | null;
}

/**
 * One page. It takes one pass over all records and all archived ids and holds no more of them than the page may need,
 * so that any coordinator answers any page and remembers nothing.
 */
export async function listMigrations(
  catalogue: RecordCatalogue,
  asked: ListMigrationsRequest,
): Promise<ListMigrationsResponse> {
  const filter = parseMigrationFilter(asked.filter ?? MigrationFilter.create());
  const pageSize = parsePageSize(asked.pageSize);
  const after = decodePageToken(asked.pageToken, filter.bytes, placeOf);
  const candidates = await findCandidates(catalogue, filter, pageSize, after);
  return fillPage(catalogue, filter, pageSize, candidates);
}

/** INVALID_ARGUMENT on page_size beyond the bound. */
export function parsePageSize(pageSize: number): number {
  if (pageSize <= PAGE_SIZE_AT_MOST) return pageSize === 0 ? PAGE_SIZE_DEFAULT : pageSize;
  const sentence = `A page has ${PAGE_SIZE_AT_MOST} at most.`;
  throw invalidArgument("page_size", sentence, "OUT_OF_RANGE");
}

async function findCandidates(
  catalogue: RecordCatalogue,
  filter: ParsedFilter,
  pageSize: number,
  after: ListPlace | null,
): Promise<FirstOnes<Candidate>> {
  const atMost = filter.judgedBy === "id" ? pageSize : pageSize + READS_AT_MOST;
  const first = new FirstOnes<Candidate>(atMost, (one) => one.migrationId, comparePlaces);
  const offer = (migrationId: string, content: Migration | null): void => {
    const place = whereListed(migrationId);
    if (place === null || !filter.mayPass(place)) return;
    if (after !== null && comparePlaces(after, place) >= 0) return;
    first.offer({ ...place, content });
  };
  for await (const { migration } of catalogue.records(filter.guestId)) {
    const content = migration?.migration;
    if (content !== undefined) offer(content.migrationId, content);
  }
  for await (const migrationId of catalogue.archivedIds()) offer(migrationId, null);
  return first;
}

/** Null for a key that is no migration's. */
function whereListed(migrationId: string): ListPlace | null {
  try {
    return placeOf(migrationId);
  } catch {
    return null;
  }
}

async function fillPage(
  catalogue: RecordCatalogue,
  filter: ParsedFilter,
  pageSize: number,
  candidates: FirstOnes<Candidate>,
): Promise<ListMigrationsResponse> {
  const migrations: Migration[] = [];
  let bytes = 0;
  let last = "";
  for await (const { migrationId, content } of withContent(catalogue, candidates.items)) {
    const passes = content !== null && filter.passes(content);
    const size = passes ? Migration.encode(content).finish().length : 0;
    const isFull = migrations.length >= pageSize || (bytes + size > PAGE_BYTES_AT_MOST && bytes > 0);
    if (isFull) return { migrations, nextPageToken: encodePageToken(last, filter.bytes) };
    last = migrationId;
    bytes += size;
    if (passes) migrations.push(content);
  }
  const nextPageToken = candidates.others === "none" ? "" : encodePageToken(last, filter.bytes);
  return { migrations, nextPageToken };
}

/** In order, read a few at a time, and no further than the reader goes. */
async function* withContent(
  catalogue: RecordCatalogue,
  candidates: readonly Candidate[],
): AsyncGenerator<Candidate, void, undefined> {
  for (let from = 0; from < candidates.length; from += READS_AT_ONCE) {
    const some = candidates.slice(from, from + READS_AT_ONCE);
    yield* await Promise.all(some.map((candidate) => read(catalogue, candidate)));
  }
}

async function read(catalogue: RecordCatalogue, candidate: Candidate): Promise<Candidate> {
  if (candidate.content !== null) return candidate;
  const archived = await catalogue.readArchived(candidate.migrationId);
  return { ...candidate, content: archived?.migration ?? null };
}

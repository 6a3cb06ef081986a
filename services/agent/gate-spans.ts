import { switchoverSpans } from "../../coordinator/inventory/switchover-spans.ts";
import { type Instant, InstantKind } from "../../proto/gen/switchover/v1/migration.ts";
import type { SpanKind, SwitchoverSpan } from "../../proto/gen/switchover/v1/receipt.ts";

/** The part of an agent's event that instants are read from. */
export type GateEvent = Parameters<typeof toldInstants>[0];

/** Guests that are between two instants at one time; the oldest is let go of beyond that. */
const INSTANCES_KEPT = 1_024;

interface Course {
  readonly instants: Instant[];
  readonly told: Set<SpanKind>;
}

/**
 * The spans of a receipt of which both ends are one host's, as its agent tells them: DEREGISTRATION where a guest stops,
 * REGISTRATION, START and ANNOUNCEMENT where one starts, also outside migrations.
 */
export class GateSpans {
  readonly #hostId: string;
  readonly #courses = new Map<string, Course>();

  constructor(hostId: string) {
    this.#hostId = hostId;
  }

  /** The spans that the event completes, each once. `instance` tells instances of this host apart. */
  hear(instance: string, event: GateEvent, atUnixUs: bigint): readonly SwitchoverSpan[] {
    const instants = toldInstants(event, atUnixUs).filter(({ atUnixUs: at }) => at > 0n);
    if (instants.length === 0) return [];
    const course = this.#courseOf(instance, event);
    course.instants.push(...instants.map((told) => ({ ...told, hostId: this.#hostId, round: 0, nicId: "" })));
    const spans = switchoverSpans(course.instants).filter(({ kind }) => !course.told.has(kind));
    for (const { kind } of spans) course.told.add(kind);
    if (event.$case === "announced") this.#courses.delete(instance);
    return spans;
  }

  /** A stop, and a word that arrives, begin anew. */
  #courseOf(instance: string, { $case }: GateEvent): Course {
    const known = this.#courses.get(instance);
    if (known !== undefined && $case !== "cpusStopped") return known;
    const course: Course = { instants: [], told: new Set() };
    this.#courses.delete(instance);
    this.#courses.set(instance, course);
    if (this.#courses.size > INSTANCES_KEPT) {
      const [oldest] = this.#courses.keys();
      if (oldest !== undefined) this.#courses.delete(oldest);
    }
    return course;
  }
}

interface Told {
  readonly kind: InstantKind;
  readonly atUnixUs: bigint;
}

function toldInstants(
  event:
    | { readonly $case: "cpusStopped"; readonly value: { readonly receivedAtUnixUs: bigint } }
    | { readonly $case: "nicsDeregistered"; readonly value: { readonly deregisteredAtUnixUs: bigint } }
    | { readonly $case: "handOffReceived" }
    | { readonly $case: "destinationReady"; readonly value: { readonly readyAtUnixUs: bigint } }
    | { readonly $case: "nicsRegistered"; readonly value: { readonly registeredAtUnixUs: bigint } }
    | {
        readonly $case: "cpusStarted";
        readonly value: { readonly contSentAtUnixUs: bigint; readonly resumedAtUnixUs: bigint };
      }
    | {
        readonly $case: "announced";
        readonly value: { readonly round: number; readonly announcedAtUnixUs: bigint };
      },
  atUnixUs: bigint,
): readonly Told[] {
  switch (event.$case) {
    case "cpusStopped":
      return [{ kind: InstantKind.STOP_RECEIVED, atUnixUs: event.value.receivedAtUnixUs }];
    case "nicsDeregistered":
      return [{ kind: InstantKind.DEREGISTERED, atUnixUs: event.value.deregisteredAtUnixUs }];
    case "handOffReceived":
      return [{ kind: InstantKind.HAND_OFF_RECEIVED, atUnixUs }];
    case "destinationReady":
      return [{ kind: InstantKind.READY, atUnixUs: event.value.readyAtUnixUs }];
    case "nicsRegistered":
      return [{ kind: InstantKind.REGISTERED, atUnixUs: event.value.registeredAtUnixUs }];
    case "cpusStarted":
      return [
        { kind: InstantKind.CONT_SENT, atUnixUs: event.value.contSentAtUnixUs },
        { kind: InstantKind.RESUMED, atUnixUs: event.value.resumedAtUnixUs },
      ];
    case "announced":
      return event.value.round === 1
        ? [{ kind: InstantKind.ANNOUNCED, atUnixUs: event.value.announcedAtUnixUs }]
        : [];
  }
}

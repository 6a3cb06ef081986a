import type { HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import { compareNics, nicNamesText } from "../../proto/nic-names.ts";
import type { NicDefinition } from "../device/nic-definition.ts";
import type { Guest, GuestNic } from "./guest.ts";
import type { GuestEvent } from "./guest-event.ts";
import type { GuestOperation } from "./guest-operation.ts";
import { alarm, type Step, step, told } from "./step.ts";

type Ordered<Kind extends GuestEvent["kind"]> = Extract<GuestEvent, { readonly kind: Kind }>;

/** NICs as a guest has them from its first day. */
export function nicsOf(definitions: readonly NicDefinition[]): readonly GuestNic[] {
  return definitions.map(({ nicId, macAddress }) => ({ nicId, macAddress, delivery: "withCpus" }));
}

/** Whether a NIC that is attached now is registered now, as its guest's others are. */
export function startsAtOnce({ nics, registration, registrationFailures }: Guest, nicId: string): boolean {
  const nic = nics.find((its) => its.nicId === nicId);
  return nic?.delivery === "withCpus" && registration === "registered" && registrationFailures === 0;
}

/** Its device is prepared, in quarantine. */
export function attachNic(guest: Guest, { nic, prepared }: Ordered<"nicAttached">): Step {
  const { role } = guest;
  const { nicId, macAddress } = nic;
  const delivery = role.kind === "outgoing" ? "waits" : "withCpus";
  const attached: Guest = { ...guest, nics: [...guest.nics, { nicId, macAddress, delivery }] };
  const hasWord = role.kind === "incoming" && role.contSentAtUnixUs === null && role.handOff !== null;
  const agreed = hasWord ? agreeOnNics(attached, role.handOff) : step(attached);
  return step(agreed.guest, [
    { kind: "journal", word: { kind: "nicAttached", nic, prepared } },
    withholding(attached.nics),
    ...agreed.operations,
    told({ $case: "nicAttached", value: { nicId, macAddress } }),
  ]);
}

/** It is deregistered. */
export function detachNic(guest: Guest, { nicId }: Ordered<"nicDetached">): Step {
  const nics = guest.nics.filter((nic) => nic.nicId !== nicId);
  return step({ ...guest, nics }, [
    { kind: "journal", word: { kind: "nicDetached", nicId } },
    withholding(nics),
    told({ $case: "nicDetached", value: { nicId } }),
  ]);
}

/** The NICs that the source's word names. */
export function namedInWord({ nics }: Guest): readonly GuestNic[] {
  return nics.filter(({ delivery }) => delivery !== "withheld");
}

/** The word says which NICs the guest has: another one stays quarantined, whoever prepared it here. */
export function agreeOnNics(guest: Guest, { nics: named }: HandOff): Step {
  if (named === undefined) return step(guest);
  const { onlyHere, onlyThere } = compareNics(guest.nics, named.nics);
  const surplus = new Set(onlyHere.map(({ nicId }) => nicId));
  const nics = guest.nics.map((nic): GuestNic => {
    const delivery = surplus.has(nic.nicId) ? "withheld" : "withCpus";
    return nic.delivery === delivery ? nic : { ...nic, delivery };
  });
  const changed = nics.some((nic, index) => nic !== guest.nics[index]);
  const sentences = [
    ...(onlyHere.length === 0
      ? []
      : [`The source has no ${nicNamesText(onlyHere)}: what is prepared here for that stays quarantined.`]),
    ...(onlyThere.length === 0 ? [] : [`The source has ${nicNamesText(onlyThere)}, and this host has not.`]),
  ];
  return step(changed ? { ...guest, nics } : guest, [
    ...(changed ? [withholding(nics)] : []),
    ...(sentences.length === 0 ? [] : [alarm("NIC_SETS_DIFFER", sentences.join(" "))]),
  ]);
}

/** What the journal keeps of that beside the word that the guest is here. */
export function withheldOf({ nics }: Guest): { readonly withheldNicIds?: readonly string[] } {
  const withheldNicIds = nics.filter(({ delivery }) => delivery === "withheld").map(({ nicId }) => nicId);
  return withheldNicIds.length === 0 ? {} : { withheldNicIds };
}

/** Those that waited while the guest was to be given away belong to it like the others once it stays. */
export function startWaitingNics(next: Step): Step {
  const { guest, operations } = next;
  if (guest.role.kind !== "resident" || !guest.nics.some(({ delivery }) => delivery === "waits")) return next;
  const nics = guest.nics.map(
    (nic): GuestNic => (nic.delivery === "waits" ? { ...nic, delivery: "withCpus" } : nic),
  );
  const start: readonly GuestOperation[] =
    guest.registration === "registered" ? [{ kind: "mendNics", registered: "registered" }] : [];
  return {
    ...next,
    guest: { ...guest, nics },
    operations: [withholding(nics), ...operations, ...start],
  };
}

/** Nothing for a guest all of whose NICs follow its CPUs. */
export function withholdingIn({ nics }: Guest): readonly GuestOperation[] {
  return nics.every(({ delivery }) => delivery === "withCpus") ? [] : [withholding(nics)];
}

function withholding(nics: readonly GuestNic[]): GuestOperation {
  const nicIds = nics.filter(({ delivery }) => delivery !== "withCpus").map(({ nicId }) => nicId);
  return { kind: "withholdNics", nicIds };
}

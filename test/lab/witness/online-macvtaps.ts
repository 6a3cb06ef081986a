/** What `ip -details link` shows of one device, as far as it decides whether a macvtap is online. */
export interface ShownLink {
  readonly name: string;
  readonly state: "up" | "down" | "deleted";
  /** The device that it stands on. */
  readonly under?: string;
  readonly mac?: string;
  /** Of a macvtap, as `ip` names it. */
  readonly mode?: string;
}

/** A macvtap that came online, went offline, or stayed as it was, when something of it or under it changed. */
export interface MacvtapChange {
  readonly name: string;
  readonly mac: string;
  readonly registered: "online" | "offline";
}

const LINK = /^(?<deleted>Deleted )?\d+: (?<name>[^@:\s]+)(?:@(?<under>[^:\s]+))?: <(?<flags>[^>]*)>/;
const ADDRESS = /^link\/ether (?<mac>[0-9a-f:]{17}) /;
const MACVTAP = /^macvtap mode (?<mode>\S+) /;

/**
 * Which macvtaps take in frames for their address. One does while it is up, what it stands on is up, and its mode is not
 * `source`: there it gets the frames of listed senders alone, and a guest's macvtap has no list.
 */
export class OnlineMacvtaps {
  readonly #links = new Map<string, ShownLink>();
  #shown: ShownLink | undefined;

  /** Takes one line of `ip -details monitor link`, trimmed. */
  hearLine(line: string): readonly MacvtapChange[] {
    const header = parseLinkLine(line);
    if (header !== undefined) {
      const known = this.#links.get(header.name);
      this.#shown = { ...known, ...header };
      // What a macvtap has become is known with the last of its lines.
      return known?.mode === undefined || header.state === "deleted" ? this.hear(this.#shown) : [];
    }
    const mac = ADDRESS.exec(line)?.groups?.mac;
    const mode = MACVTAP.exec(line)?.groups?.mode;
    if (this.#shown === undefined || (mac ?? mode) === undefined) return [];
    this.#shown = {
      ...this.#shown,
      ...(mac === undefined ? {} : { mac }),
      ...(mode === undefined ? {} : { mode }),
    };
    return mode === undefined ? [] : this.hear(this.#shown);
  }

  /** What was shown when the record began, unless something newer was told. */
  begin(links: readonly ShownLink[]): readonly MacvtapChange[] {
    const unknown = links.filter(({ name }) => !this.#links.has(name));
    for (const link of unknown) this.#links.set(link.name, link);
    return unknown.flatMap((link) => this.#changeOf(link));
  }

  hear(link: ShownLink): readonly MacvtapChange[] {
    this.#links.set(link.name, link);
    const above = [...this.#links.values()].filter(({ under }) => under === link.name);
    const changes = [link, ...above].flatMap((changed) => this.#changeOf(changed));
    if (link.state === "deleted") this.#links.delete(link.name);
    return changes;
  }

  #changeOf({ mac, mode, name, state, under }: ShownLink): MacvtapChange[] {
    if (mac === undefined || mode === undefined) return [];
    const below = under === undefined ? undefined : this.#links.get(under);
    const isOnline = state === "up" && mode !== "source" && (below === undefined || below.state === "up");
    return [{ name, mac, registered: isOnline ? "online" : "offline" }];
  }
}

/** The first line that `ip monitor link` prints of a device; undefined for others. */
export function parseLinkLine(line: string): ShownLink | undefined {
  const fields = LINK.exec(line)?.groups;
  if (fields?.name === undefined) return undefined;
  const { name, under } = fields;
  const isUp = fields.flags?.split(",").includes("UP");
  const state = fields.deleted !== undefined ? "deleted" : isUp ? "up" : "down";
  return { name, state, ...(under === undefined ? {} : { under }) };
}

/** The output of `ip -json -details link show`. */
export function parseLinkShow(json: string): readonly ShownLink[] {
  const links = JSON.parse(json.trim() === "" ? "[]" : json) as {
    readonly ifname?: string;
    readonly link?: string;
    readonly address?: string;
    readonly flags?: readonly string[];
    readonly linkinfo?: { readonly info_kind?: string; readonly info_data?: { readonly mode?: string } };
  }[];
  return links.flatMap(({ address, flags, ifname, link, linkinfo }) => {
    if (ifname === undefined) return [];
    const mode = linkinfo?.info_kind === "macvtap" ? linkinfo.info_data?.mode : undefined;
    return [
      {
        name: ifname,
        state: flags?.includes("UP") ? "up" : "down",
        ...(link === undefined ? {} : { under: link }),
        ...(address === undefined ? {} : { mac: address }),
        ...(mode === undefined ? {} : { mode }),
      },
    ];
  });
}

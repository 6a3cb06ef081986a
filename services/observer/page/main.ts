import { followChanges, type Link } from "./changes-source.ts";
import { required } from "./element.ts";
import { parseFilter } from "./filter.ts";
import { HostsView } from "./hosts-view.ts";
import { ListView } from "./list-view.ts";
import { MigrationView } from "./migration-view.ts";
import { PageModel } from "./model.ts";
import { NoticesView } from "./notices-view.ts";
import type { Beat } from "./wire.ts";

/**
 * The page: one stream of changes fills the model, the address says what is in sight, and that alone is drawn, once a
 * frame at most.
 */
const AGES_MS = 1_000;
const model = new PageModel();
const heard = new Map<string, number>();
let beat: Beat | undefined;
/** How far this machine's clock is from the observer's. */
let clockAheadMs = 0;
let link: Link = "connecting";
/** The filter that the list had last, for the way back. */
let listHash = "#/migrations";

const list = new ListView(model);
const migration = new MigrationView(model);
const notices = new NoticesView(model);
const hosts = new HostsView(model, {
  nowMs: () => Date.now() - clockAheadMs,
  atMs: (hostId) => heard.get(hostId),
});

type Place = "migrations" | "migration" | "hosts" | "notices";
let place: Place | undefined;

function showPlace(): void {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [first, id = ""] = path.split("/");
  const before = place;
  if (first === "hosts" || first === "notices") place = first;
  else place = id === "" ? "migrations" : "migration";
  for (const one of ["migrations", "migration", "hosts", "notices"] as const) {
    required(`${one}-section`).hidden = one !== place;
  }
  for (const tab of document.querySelectorAll<HTMLAnchorElement>("nav a")) {
    const isHere = tab.dataset.place === (place === "migration" ? "migrations" : place);
    if (isHere) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  if (place === "migration") migration.show(decoded(id));
  else migration.hide();
  if (place === "migrations") {
    listHash = location.hash === "" ? "#/migrations" : location.hash;
    list.show(parseFilter(query));
    if (before === "migration") list.focusRows();
  }
  if (place !== "migration") document.title = `${required(`${place}-title`).textContent} · Switchover`;
  required("back").setAttribute("href", listHash);
  if (place === "migration" && before === "migrations") required("back").focus();
  render();
}

/** Of an address that somebody mistyped, too. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function render(): void {
  if (place === "migrations") list.render();
  else if (place === "migration") migration.render();
  else if (place === "hosts") hosts.render();
  else if (place === "notices") notices.render();
  showTrouble();
}

let isDue = false;
function renderSoon(): void {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    render();
  });
}

/** How many alarms there are and whether what is shown is how things are now. */
function showTrouble(): void {
  const alarms = [...model.notices.values()].filter(({ kind }) => kind === "alarm").length;
  const silent = [...model.hosts.values()].filter(({ standing }) => standing === "silent").length;
  required("alarm-count").textContent = alarms === 0 ? "" : String(alarms);
  required("silent-count").textContent = silent === 0 ? "" : `${silent} silent`;
  const [state, text] = linkText();
  const status = required("link");
  if (status.textContent === text) return;
  status.textContent = text;
  status.className = state;
}

function linkText(): readonly [string, string] {
  if (link === "connecting") return ["is-late", "… connecting"];
  if (link === "lost") return ["is-silent", "✕ observer away; shown as last heard"];
  if (beat?.nats === "away") return ["is-silent", "✕ NATS away; shown as last heard"];
  if (beat?.replay === "under way") return ["is-late", "… reading the feed"];
  return ["is-alive", "● live"];
}

followChanges({
  onChanges: (changes) => {
    model.hear(changes);
    renderSoon();
  },
  onBeat: (said) => {
    beat = said;
    clockAheadMs = Date.now() - said.nowMs;
    for (const [hostId, atMs] of said.heard) heard.set(hostId, atMs);
    renderSoon();
  },
  onLink: (now) => {
    if (now === link) return;
    link = now;
    renderSoon();
  },
});

addEventListener("hashchange", showPlace);
addEventListener("keydown", (event) => {
  const isTyping = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
  if (event.key === "Escape" && place === "migration") location.hash = listHash;
  else if (event.key === "Escape" && isTyping) list.focusRows();
  else if (event.key === "/" && !isTyping && place === "migrations") list.focusFilter();
  else return;
  event.preventDefault();
});
setInterval(() => {
  if (place === "hosts") renderSoon();
}, AGES_MS);
showPlace();

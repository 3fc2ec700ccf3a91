/** What is around every view: the bar at the top, what it says of the connection, and the keys. */

import { href, link } from "./address.js";
import { el, fill, set, setText } from "./dom.js";
import * as words from "./words.js";

const PLACES = [
  ["farm", "Farm"],
  ["jobs", "Jobs"],
  ["engines", "Engines"],
  ["log", "Log"],
  ["submit", "Submit"],
];
const KEYS = [
  ["/ or ⌘K", "search the jobs"],
  ["j, k", "next row, row before"],
  ["x", "select the row; with Shift, all rows up to it"],
  ["Enter", "open the row"],
  ["c", "cancel what is selected, or the row"],
  ["r", "retry what is selected, or the row"],
  [".", "back to now"],
  ["Esc", "end the selection; leave the search"],
  ["?", "this list"],
];

/** Makes the bar in `header`; returns what draws it anew: `draw(address, store)`. */
export function makeShell(header, { onSearch, onSignOut }) {
  const places = PLACES.map(([view, text]) => [view, el("a", {}, text)]);
  const host = el("a", { class: "host", href: "/" }, window.location.host || "dispatcher");
  const state = el("span", { class: "connection" });
  const seq = el("span", { class: "number" });
  const search = el("input", {
    type: "search",
    id: "search",
    placeholder: "Search jobs",
    "aria-label": "Search jobs",
    "aria-keyshortcuts": "/ Control+K Meta+K",
    autocomplete: "off",
    spellcheck: "false",
    oninput: () => onSearch(search.value, { isDone: false }),
    onkeydown: (event) => {
      if (event.key === "Enter") onSearch(search.value, { isDone: true });
      if (event.key === "Escape") search.blur();
      event.stopPropagation();
    },
  });
  const who = el("summary", {});
  const whoMore = el("div", { class: "menu-body" });
  const menu = el("details", { class: "menu" }, who, whoMore);
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    who.focus();
  });
  document.addEventListener("pointerdown", (event) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
  const banner = el("div", { class: "banner", role: "status", hidden: true });
  const help = helpDialog();
  fill(
    header,
    el(
      "div",
      { class: "bar" },
      host,
      el("span", { class: "status" }, state, " ", seq, el("span", { id: "seal" })),
      el("nav", { "aria-label": "Views" }, places.map(([, place]) => place)),
      el("div", { class: "search" }, search, el("kbd", { "aria-hidden": "true" }, "/")),
      el("div", { id: "moment" }),
      menu,
      el("button", { class: "quiet help-button", "aria-label": "Keys", title: "Keys (?)", onclick: help.open }, "?"),
    ),
    banner,
  );
  document.body.append(help.dialog);

  function drawWho(store) {
    const name = store.who?.name ?? "";
    setText(who, name ? `key ${name}` : "no key");
    if (whoMore.dataset.drawn === `${name} ${store.who?.role}`) return;
    whoMore.dataset.drawn = `${name} ${store.who?.role}`;
    const isOpen = name === "anonymous";
    fill(
      whoMore,
      el("p", {}, isOpen ? "This dispatcher serves anybody, without a key." : `The role of this key is ${store.who?.role ?? "not known"}.`),
      isOpen ? null : el("button", { class: "button", onclick: onSignOut }, "Sign out"),
    );
  }

  function drawState(store) {
    const live = store.moment === null;
    const text = !live ? "past" : store.connected ? "live" : store.loading ? "loading" : "lost";
    setText(state, text);
    set(header, "data-connection", text);
    document.documentElement.dataset.connection = text;
    setText(seq, store.state.seq > 0 ? `seq ${words.number(store.state.seq)}` : "");
  }

  function drawBanner(store) {
    const text = troubleOf(store);
    banner.hidden = text === null;
    setText(banner, text ?? "");
  }

  return {
    search,
    openHelp: help.open,
    draw(address, store) {
      for (const [view, place] of places) {
        set(place, "href", link({ view }));
        set(place, "aria-current", view === address.view ? "page" : null);
        if (view === "submit") place.hidden = !store.may("client");
      }
      set(host, "href", link({ view: "farm" }));
      drawWho(store);
      drawState(store);
      drawBanner(store);
    },
  };
}

/** What is wrong, in a sentence, or null. */
function troubleOf(store) {
  const { fault, lostSince } = store;
  if (fault !== null && fault.status === 401) return null; // the form says it
  if (fault !== null && fault.status !== 0) return fault.text;
  if (lostSince === null || store.moment !== null) return null;
  return `Lost the connection to the dispatcher at ${words.when(lostSince, store.now())}. What is shown is from then. Trying again.`;
}

function helpDialog() {
  const close = el("button", { class: "button", onclick: () => dialog.close() }, "Close");
  const dialog = el(
    "dialog",
    { class: "help", "aria-labelledby": "help-title" },
    el("h2", { id: "help-title" }, "Keys"),
    el(
      "dl",
      {},
      KEYS.map(([keys, text]) => [el("dt", {}, el("kbd", {}, keys)), el("dd", {}, text)]),
    ),
    close,
  );
  dialog.addEventListener("keydown", (event) => event.stopPropagation());
  return { dialog, open: () => dialog.open || dialog.showModal() };
}

/** The address of the farm as it is now, seen from an address of the past. */
export function nowHref(address) {
  return href({ ...address, moment: null });
}

/**
 * The board: shows the view that the address names.
 *
 * A view is a custom element `<board-…>` with `show(address, store)`, called when the address
 * changes, `update(change)`, called at most once a frame, and, if it has keys of its own,
 * `onKey(event)`, which gives true for a key that it took.
 */

import { go, href, read } from "./address.js";
import { Api } from "./api.js";
import { el, fill, visible } from "./dom.js";
import { Moments } from "./moment.js";
import { say } from "./notice.js";
import { showSeal } from "./seal.js";
import { makeShell, nowHref } from "./shell.js";
import { redeem, refusalOf, signInForm, storeKey, storedKey } from "./sign_in.js";
import { Store } from "./store.js";

const MODULES = {
  farm: () => import("./farm.js"),
  jobs: () => import("./jobs.js"),
  engines: () => import("./engines.js"),
  job: () => import("./job.js"),
  engine: () => import("./engine.js"),
  log: () => import("./log.js"),
  submit: () => import("./submit.js"),
};
const TITLES = { farm: "Farm", jobs: "Jobs", engines: "Engines", log: "Log", submit: "Submit" };
const TYPING_MS = 250;
const NEEDS_KEY = "This dispatcher asks for a key.";
const UNKNOWN_KEY = "The dispatcher does not know this key. It may have been replaced.";

const main = document.getElementById("main");
const api = new Api(storedKey(), () => askForKey(UNKNOWN_KEY));
const store = new Store(api);
const shell = makeShell(document.getElementById("shell"), { onSearch: search, onSignOut: signOut });

const moments = new Moments(store, {
  field: document.getElementById("moment"),
  bar: document.getElementById("time"),
});
showSeal(document.getElementById("seal"), store);

let address = read();
let view = null;
let isAsking = false;
let typing = null;

async function start() {
  main.append(el("p", { class: "waiting" }, "Loading the farm."));
  window.addEventListener("popstate", route);
  window.addEventListener("addresschange", route);
  document.addEventListener("click", followLink);
  document.addEventListener("keydown", takeKey);
  store.subscribe((change) => {
    const isRefused = store.fault?.status === 400 && store.moment !== null && store.moment === address.moment;
    if (isRefused && !store.loading) return toNow(store.fault.text);
    shell.draw(address, store);
    moments.draw();
    if (!isAsking) view?.update?.(change);
  });
  const refused = await redeem(api);
  if (refused !== null) {
    if (api.key === null) return askForKey(refused);
    say(refused, { bad: true }); // the tab was signed in, and stays so
  }
  if (!(await isAdmitted())) return askForKey(api.key === null ? NEEDS_KEY : UNKNOWN_KEY);
  store.at(faultOf(address.moment) === null ? address.moment : null);
  route();
}

/** Whether this tab may ask; also while the dispatcher can't be reached, which the shell says. */
async function isAdmitted() {
  try {
    return await api.isAdmitted();
  } catch {
    return true;
  }
}

/** Shows what the address names. */
async function route() {
  const former = address;
  address = read();
  const fault = faultOf(address.moment);
  if (fault !== null) return toNow(fault);
  const wasPlaying = moments.stop();
  document.documentElement.toggleAttribute("data-wall", address.filters.has("wall"));
  if (address.moment !== store.moment || wasPlaying) store.at(address.moment);
  if (document.activeElement !== shell.search) shell.search.value = address.filters.get("text") ?? "";
  shell.draw(address, store);
  if (isAsking) return;
  const name = `board-${address.view}`;
  document.title = visible(`${address.id ?? TITLES[address.view]} · ${window.location.host}`);
  if (customElements.get(name) === undefined) {
    const asked = address;
    await MODULES[address.view]();
    if (asked !== address) return; // it has changed meanwhile
  }
  if (view?.localName !== name) {
    const focusWasInside = main.contains(document.activeElement);
    view = el(name);
    fill(main, view);
    if (former.view !== address.view) {
      window.scrollTo(0, 0);
      if (focusWasInside) main.focus({ preventScroll: true });
    }
  }
  view.show(address, store);
}

/** Why a moment that an address names can't be shown, or null. */
function faultOf(moment) {
  if (moment === null || /^\d+$/.test(moment)) return null;
  const at = /^\d{4}-\d{2}-\d{2}/.test(moment) ? Date.parse(moment) : NaN;
  if (Number.isNaN(at)) return `“${moment}” is no moment: that is a seq, or a time such as 2026-11-22T09:14:00Z.`;
  return at > Date.now() + api.clockAheadMs ? `${moment} has not come yet.` : null;
}

/** Leaves a moment that can't be shown. */
function toNow(why) {
  say(`${why} This is now.`);
  go(href({ ...address, moment: null }), { replace: true });
}

/** Follows links within the board without loading it anew. */
function followLink(event) {
  const anchor = event.target.closest?.("a[href]");
  const isPlain = event.button === 0 && !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);
  if (!anchor || !isPlain || event.defaultPrevented || anchor.target) return;
  const to = anchor.getAttribute("href");
  if (to !== "/" && !to.startsWith("/?")) return;
  event.preventDefault();
  go(to);
}

function takeKey(event) {
  if (event.defaultPrevented || isAsking) return;
  if (event.key.toLowerCase() === "k" && (event.metaKey || event.ctrlKey) && !event.shiftKey) {
    event.preventDefault();
    shell.search.select();
    return;
  }
  if (event.metaKey || event.ctrlKey || event.altKey || isTyping(event.target)) return;
  if (view?.onKey?.(event)) {
    event.preventDefault();
    return;
  }
  const actions = {
    "/": () => shell.search.select(),
    "?": () => shell.openHelp(),
    ".": () => store.moment !== null && go(nowHref(address)),
  };
  if (actions[event.key] === undefined) return;
  event.preventDefault();
  actions[event.key]();
}

function isTyping(target) {
  return target.closest?.("input:not([type=checkbox], [type=range]), textarea, select, dialog") !== null;
}

/** Searches the jobs; while somebody types in another view, only Enter leads to the jobs. */
function search(text, { isDone }) {
  clearTimeout(typing);
  const wanted = text.trim();
  const show = () => {
    const isJobs = address.view === "jobs";
    const filters = isJobs ? new URLSearchParams(address.filters) : new URLSearchParams();
    if (wanted) filters.set("text", wanted);
    else filters.delete("text");
    go(href({ view: "jobs", filters, moment: address.moment }), { replace: isJobs });
    if (isDone) shell.search.blur();
  };
  if (isDone) show();
  else if (address.view === "jobs") typing = setTimeout(show, TYPING_MS);
}

function askForKey(why) {
  if (isAsking) return;
  isAsking = true;
  storeKey(null);
  api.key = null;
  view = null;
  fill(main, signInForm(why, tryKey));
  document.getElementById("key").focus();
  shell.draw(address, store);
}

/** Tries a key; returns why it is refused, or null. */
async function tryKey(key) {
  try {
    const tried = new Api(key);
    if (!(await tried.isAdmitted())) return "The dispatcher does not know this key.";
    const refusal = refusalOf(await tried.get("/key"));
    if (refusal !== null) return refusal;
  } catch (error) {
    return error.text ?? String(error);
  }
  storeKey(key);
  isAsking = false;
  fill(main);
  store.signIn(key);
  route();
  main.focus();
  return null;
}

function signOut() {
  storeKey(null);
  window.location.assign("/");
}

start();

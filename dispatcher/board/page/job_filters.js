/**
 * The filters of the jobs, as `GET /jobs/` has them and as the address keeps them.
 *
 * `matches` gives the same answer as the dispatcher, so that what is in memory needs no request.
 */

import { refine } from "./address.js";
import { query } from "./api.js";
import { el, fill, set, setText } from "./dom.js";
import { FINAL, JOB_STATES, shape } from "./states.js";
import { shortId } from "./words.js";

export const NAMES = ["status", "codec", "engine", "text", "since", "until", "parent"];
/** The `parent` of an address that shows parts of films beside all other jobs. */
const ANY = "any";
const ALIVE = ["pending", "assigned"];
const HOUR_MS = 3_600_000;
const SPANS = [
  ["1", "last hour"],
  ["24", "last 24 hours"],
  ["168", "last 7 days"],
  ["720", "last 30 days"],
];

/** The filters in an address, without those that are not set. */
export function filtersOf(address) {
  const given = NAMES.map((name) => [name, address.filters.get(name)?.trim() ?? ""]);
  return Object.fromEntries(given.filter(([, value]) => value !== ""));
}

/**
 * The filters as the dispatcher takes them. Parts of films are left out, unless an address asks for
 * those of one film or for all: a film stands for its parts.
 */
export function askedOf({ parent = "", ...filters }) {
  return parent === ANY ? filters : { ...filters, parent };
}

/** The path of a request that is about the jobs that match, with `more` parameters. */
export function pathOf(to, filters, more = {}) {
  const { parent, ...asked } = askedOf(filters);
  const path = query(to, { ...asked, ...more });
  if (parent === undefined) return path;
  return `${path}${path.includes("?") ? "&" : "?"}parent=${encodeURIComponent(parent)}`; // "" means none
}

/** Whether all that can match is alive, and so in memory. */
export function isOfTheLiving({ status }) {
  return status !== undefined && status.split(",").every((name) => ALIVE.includes(name));
}

/** Makes the test that says whether a job matches. */
export function matcher({ status, codec, engine, text, since, until, parent }) {
  const statuses = status === undefined ? null : new Set(status.split(","));
  const wanted = folded(text ?? "").split(/\s+/).filter(Boolean);
  const [from, to] = [Date.parse(since ?? ""), Date.parse(until ?? "")];
  return (job) => {
    if (statuses !== null && !statuses.has(job.status)) return false;
    if (codec !== undefined && job.target_codec !== codec) return false;
    if (engine !== undefined && job.assigned_engine !== engine) return false;
    if (parent !== undefined && (job.parent ?? "") !== parent) return false;
    if (wanted.length > 0 && !hasWords(job, wanted)) return false;
    if (Number.isNaN(from) && Number.isNaN(to)) return true;
    const at = Date.parse((FINAL.has(job.status) && job.finished_at) || job.submitted_at);
    return !(at < from) && !(at >= to);
  };
}

function hasWords(job, wanted) {
  const urls = [job.source_url, job.output_url].filter(Boolean);
  const texts = [job.job_id, ...urls, ...urls.map(asRead), job.error_message, job.output_name, job.assigned_engine];
  const text = folded(texts.filter(Boolean).join("\n"));
  return wanted.every((word) => text.includes(word));
}

/** A text without what a search does not distinguish: case, and forms of a character. */
function folded(text) {
  // Capitals first: there ß and ss are alike, as the dispatcher has them.
  return text.normalize("NFC").toUpperCase().toLowerCase().replaceAll("ς", "σ").normalize("NFC");
}

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** A URL as a person reads it: each run of escapes decoded, and a "%" that is none left as it is. */
function asRead(url) {
  if (!url.includes("%")) return "";
  return url.replace(/(?:%[0-9a-f]{2})+/gi, (escapes) => {
    const bytes = escapes.slice(1).split("%").map((hex) => parseInt(hex, 16));
    return utf8.decode(Uint8Array.from(bytes));
  });
}

/** The row of filters above the jobs; `draw(filters, state)` shows which are set. */
export function makeFilters(store) {
  const statuses = Object.entries(JOB_STATES).map(([status, { word, tone }]) => [
    status,
    el(
      "button",
      { class: `chip tone-${tone}`, type: "button", onclick: () => toggle(status) },
      shape(status),
      word,
    ),
  ]);
  const codec = choice("Codec", "codec");
  const engine = choice("Engine", "engine");
  const span = el(
    "select",
    { "aria-label": "Time", onchange: (event) => chooseSpan(event.target.value, store) },
    el("option", { value: "" }, "any time"),
    SPANS.map(([hours, text]) => el("option", { value: hours }, text)),
    el("option", { value: "set" }, "from … to …"),
  );
  const since = moment("since", "From");
  const until = moment("until", "Until");
  const between = el("span", { class: "between", hidden: true }, since, until);
  const parts = el("button", { class: "chip", type: "button", onclick: () => refine({ parent: toggled() }) }, "with parts");
  const toggled = () => (filtersOf(currentAddress).parent === undefined ? ANY : null);
  const clear = el("button", { class: "quiet", type: "button", onclick: clearAll }, "Clear");
  const element = el(
    "div",
    { class: "filters", role: "group", "aria-label": "Filters" },
    el("div", { class: "chips", role: "group", "aria-label": "State" }, statuses.map(([, chip]) => chip)),
    codec,
    engine,
    span,
    between,
    parts,
    clear,
  );
  span.addEventListener("change", () => {
    between.hidden = span.value !== "set";
  });

  function toggle(status) {
    const set = new Set((filtersOf(currentAddress).status ?? "").split(",").filter(Boolean));
    if (!set.delete(status)) set.add(status);
    refine({ status: [...set].join(",") });
  }

  let currentAddress = { filters: new URLSearchParams() };
  return {
    element,
    draw(address) {
      currentAddress = address;
      const filters = filtersOf(address);
      const on = new Set((filters.status ?? "").split(","));
      for (const [status, chip] of statuses) set(chip, "aria-pressed", String(on.has(status)));
      offer(codec, "any codec", codecsOf(store.state), filters.codec);
      offer(engine, "any engine", [...store.state.engines.keys()].sort(), filters.engine);
      const isSet = filters.since !== undefined || filters.until !== undefined;
      if (isSet && !isSpan(filters, span.value, store)) span.value = "set";
      if (!isSet && span.value !== "set") span.value = "";
      between.hidden = span.value !== "set";
      since.firstElementChild.value = localTime(filters.since);
      until.firstElementChild.value = localTime(filters.until);
      const { parent } = filters;
      parts.hidden = parent === undefined && !hasParts(store.state);
      set(parts, "aria-pressed", String(parent !== undefined));
      setText(parts, parent === undefined || parent === ANY ? "with parts" : `parts of ${shortId(parent)}`);
      clear.hidden = Object.keys(filters).length === 0;
    },
  };
}

function hasParts(state) {
  for (const job of state.jobs.values()) if (job.parts !== undefined || job.parent !== undefined) return true;
  return false;
}

function clearAll() {
  refine(Object.fromEntries(NAMES.map((name) => [name, null])));
}

function choice(label, name) {
  return el("select", { "aria-label": label, onchange: (event) => refine({ [name]: event.target.value }) });
}

/** Fills a choice, if what it offers has changed; what is chosen is offered in any case. */
function offer(select, none, values, chosen = "") {
  const offered = chosen && !values.includes(chosen) ? [chosen, ...values] : values;
  const told = offered.join("\n");
  if (select.dataset.offered !== told) {
    select.dataset.offered = told;
    fill(select, el("option", { value: "" }, none), offered.map((value) => el("option", { value }, value)));
  }
  if (select.value !== chosen) select.value = chosen;
}

function codecsOf(state) {
  const found = new Set();
  for (const engine of state.engines.values()) for (const codec of engine.supported_codecs ?? []) found.add(codec);
  for (const job of state.jobs.values()) found.add(job.target_codec);
  return [...found].sort();
}

function moment(name, label) {
  const take = (event) => {
    const at = new Date(event.target.value);
    refine({ [name]: Number.isNaN(at.getTime()) ? null : at.toISOString() });
  };
  return el("label", {}, el("input", { type: "datetime-local", "aria-label": label, onchange: take }));
}

function chooseSpan(value, store) {
  if (value === "set") return;
  const since = value ? new Date(store.now() - Number(value) * HOUR_MS).toISOString().replace(/\.\d+/, "") : null;
  refine({ since, until: null });
}

function isSpan({ since, until }, hours, store) {
  return until === undefined && Number(hours) > 0 && Math.abs(store.now() - Number(hours) * HOUR_MS - Date.parse(since)) < HOUR_MS;
}

function localTime(time) {
  if (time === undefined || Number.isNaN(Date.parse(time))) return "";
  const at = new Date(time);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/**
 * The reason of a state, one step away: while the pointer is on a state, or its row has the focus, a
 * note beside it has the sentence that `GET /jobs/{id}/why` gives, or that an engine's fields give.
 *
 * An element with `data-why-job` or `data-why-engine` has such a note.
 */

import { path, query } from "./api.js";
import { el, setText } from "./dom.js";
import { engineState } from "./states.js";
import * as words from "./words.js";

const POINTER_MS = 250;
const FOCUS_MS = 500;
const KEPT_MS = 5_000;
const ASKED = "[data-why-job], [data-why-engine]";

/** Shows the notes of everything inside `element`; returns what ends that. */
export function showWhy(element, store) {
  const note = el("div", { class: "why", id: `why-${Math.random().toString(36).slice(2)}`, role: "tooltip", popover: "manual" });
  const known = new Map();
  let timer = null;
  let shownAt = null;

  const hide = () => {
    clearTimeout(timer);
    shownAt?.removeAttribute("aria-describedby");
    shownAt = null;
    if (note.matches(":popover-open")) note.hidePopover();
  };
  const show = async (at, described) => {
    hide();
    shownAt = described;
    const text = await reason(at);
    if (shownAt !== described || !text || !at.isConnected) return;
    setText(note, words.sentence(text));
    note.showPopover();
    place(note, at.getBoundingClientRect());
    described.setAttribute("aria-describedby", note.id);
  };
  const reason = async (at) => {
    const { whyJob, whyEngine } = at.dataset;
    if (whyEngine !== undefined) return engineReason(store.state.engines.get(whyEngine), store);
    const kept = known.get(whyJob);
    if (kept && performance.now() - kept.at < KEPT_MS) return kept.text;
    const text = await jobReason(whyJob, store).catch(() => null);
    known.set(whyJob, { at: performance.now(), text });
    if (known.size > 200) known.delete(known.keys().next().value);
    return text;
  };
  const later = (ms, at, described) => {
    clearTimeout(timer);
    timer = setTimeout(() => show(at, described), ms);
  };
  const over = (event) => {
    const at = event.target.closest?.(ASKED);
    if (at && at !== shownAt) later(POINTER_MS, at, at);
    else if (!at && !element.contains(document.activeElement?.closest(".row"))) hide();
  };
  const focused = (event) => {
    const at = event.target.matches(ASKED) ? event.target : event.target.querySelector?.(ASKED);
    if (at && event.target.matches(":focus-visible")) later(FOCUS_MS, at, event.target);
    else hide();
  };
  const pressed = (event) => event.key === "Escape" && hide();
  element.append(note);
  const listeners = [
    ["pointerover", over],
    ["pointerleave", hide],
    ["focusin", focused],
    ["focusout", hide],
    ["keydown", pressed],
  ];
  for (const [type, fn] of listeners) element.addEventListener(type, fn);
  window.addEventListener("scroll", hide, { passive: true });
  return () => {
    hide();
    note.remove();
    for (const [type, fn] of listeners) element.removeEventListener(type, fn);
    window.removeEventListener("scroll", hide);
  };
}

/** Puts the note below a state, or above it where there is no room. */
function place(note, { left, top, bottom }) {
  const { width, height } = note.getBoundingClientRect();
  const gap = 4;
  const below = bottom + gap + height <= window.innerHeight;
  const x = Math.max(gap, Math.min(left, window.innerWidth - width - gap));
  note.style.setProperty("left", `${x}px`);
  note.style.setProperty("top", `${below ? bottom + gap : Math.max(gap, top - gap - height)}px`);
}

async function jobReason(id, store) {
  const { because } = await store.api.get(query(path`/jobs/${id}/why`, { as_of: store.asOf }));
  const job = store.state.jobs.get(id);
  const error = job?.status === "pending" ? job.error_message : null;
  return error ? `${words.sentence(because)} The last attempt failed: ${error}` : because;
}

/** Why an engine is in its state, in a sentence. */
export function engineReason(engine, store) {
  if (engine === undefined) return null;
  const now = store.now();
  switch (engineState(engine)) {
    case "silent":
      return `It was last heard at ${words.when(engine.last_seen, now)}, ${words.ago(engine.last_seen, now)}; its job, if it had one, is given to another`;
    case "blocked":
      return engine.blocked_until === null
        ? `${words.sentence(engine.blocked)} It gets no jobs until it is resumed`
        : `${words.sentence(engine.blocked)} It may try again at ${words.when(engine.blocked_until, now)}`;
    case "draining":
      if (!engine.drained) return `It takes no new jobs now: ${engine.resting}`;
      return engine.current_job === null
        ? "It was drained, and gets no jobs until it is resumed"
        : "It was drained: it finishes its job and gets no more until it is resumed";
    case "working": {
      const job = store.state.jobs.get(engine.current_job);
      return job ? `It works on ${words.jobName(job)}, attempt ${job.attempt}` : "It has a job";
    }
    default:
      return fencedReason(engine) ?? "It has no job and could take one";
  }
}

function fencedReason({ fenced_instances: fenced }) {
  if (!fenced?.length) return null;
  return `Other machines use its id and were refused: instance ${words.listed(fenced)}`;
}

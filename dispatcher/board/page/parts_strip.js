/**
 * The parts of a film that is split, as a strip: a cell for each, in their order, with its state by
 * shape, colour and, to whoever does not see them, word. A cell leads to the job of its part.
 *
 * Parts that are alive are in memory; those that were done long ago are asked for once.
 */

import { link } from "./address.js";
import { query } from "./api.js";
import { el, fill, set, setText } from "./dom.js";
import { JOB_STATES, shape } from "./states.js";
import { count, listed, number, partName, percent } from "./words.js";

const MOST = 1_000;

export class PartsStrip {
  #store;
  #changed;
  #ids = [];
  #film = null;
  #cells = [];
  #found = new Map();
  #askedFor = null;

  /** `changed()` is called when more is known of the parts. */
  constructor(store, changed) {
    this.#store = store;
    this.#changed = changed;
    this.summary = el("span", {});
    this.table = el("a", { class: "parts-table" }, "as a table");
    this.list = el("ol", { class: "parts", "aria-label": "Parts of the film" });
    this.node = el("section", { hidden: true, "aria-labelledby": "parts-title" }, el("h2", { id: "parts-title" }, "Parts"), el("p", { class: "weak" }, this.summary, " · ", this.table), this.list);
  }

  /** Whether one of these jobs is a part that is shown. */
  concerns(ids) {
    return this.#ids.some((id) => ids.has(id));
  }

  /** Shows the parts of a film, or nothing of a job that has none. */
  show(film) {
    const ids = film?.parts ?? [];
    if (film?.job_id !== this.#film || ids.join() !== this.#ids.join()) this.#make(film?.job_id ?? null, ids);
    set(this.node, "hidden", ids.length === 0);
    if (ids.length === 0) return;
    set(this.table, "href", link({ view: "jobs", filters: { parent: film.job_id } }));
    const parts = ids.map((id) => this.#job(id));
    if (parts.some((part) => part === undefined)) this.#ask();
    const counts = new Map();
    parts.forEach((part, at) => {
      this.#cells[at](part);
      if (part) counts.set(part.status, (counts.get(part.status) ?? 0) + 1);
    });
    const told = Object.entries(JOB_STATES)
      .filter(([status]) => counts.has(status))
      .map(([status, { word }]) => `${number(counts.get(status))} ${word}`);
    setText(this.summary, `${count(ids.length, "part")}${told.length ? `: ${listed(told)}` : ""}`);
  }

  #job(id) {
    return this.#store.state.jobs.get(id) ?? this.#found.get(id);
  }

  #make(film, ids) {
    this.#film = film;
    this.#ids = [...ids];
    this.#askedFor = null;
    this.#found.clear();
    const made = ids.map((id, at) => cellOf(id, at));
    this.#cells = made.map(({ draw }) => draw);
    fill(this.list, made.map(({ node }) => node));
  }

  async #ask() {
    const { api, round, asOf } = this.#store;
    const key = `${this.#film} ${round}`;
    if (this.#askedFor === key || this.#store.loading) return;
    this.#askedFor = key;
    try {
      const asked = query("/jobs/", { parent: this.#film, limit: MOST, as_of: asOf });
      const { items } = await api.page(asked);
      if (this.#askedFor !== key) return;
      this.#found = new Map(items.map((job) => [job.job_id, job]));
      this.#changed();
    } catch {
      // The cells of the parts that are not known say so.
    }
  }
}

function cellOf(id, at) {
  const mark = el("span", { class: "mark" });
  const name = el("span", { class: "number" }, number(at + 1));
  const anchor = el("a", { href: link({ view: "job", id }) }, mark, name);
  let drawn = null;
  return {
    node: el("li", {}, anchor),
    draw(job) {
      const status = job?.status ?? null;
      if (drawn !== status) {
        drawn = status;
        set(mark, "class", `mark tone-${JOB_STATES[status]?.tone ?? "idle"}`);
        fill(mark, status === null ? null : shape(status));
        set(anchor, "data-status", status);
      }
      if (job?.part) setText(name, Number.isInteger(job.part.number) ? number(job.part.number + 1) : "rest");
      anchor.style.setProperty("--part", status === "assigned" ? String((job.progress ?? 0) / 100) : "0");
      const told = job === undefined ? `part ${at + 1}` : toldOf(job);
      set(anchor, "title", told);
      set(anchor, "aria-label", told);
    },
  };
}

function toldOf(job) {
  const { status, assigned_engine: engine, progress, error_message: error } = job;
  const at = status === "assigned" && engine ? ` on ${engine}` : "";
  const far = status === "assigned" && typeof progress === "number" ? `, ${percent(progress)}` : "";
  const why = status === "failed_permanently" && error ? `: ${error}` : "";
  return `${partName(job)}: ${JOB_STATES[status]?.word ?? status}${at}${far}${why}`;
}

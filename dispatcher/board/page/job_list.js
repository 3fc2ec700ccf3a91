/**
 * A short list of jobs under a title, of the farm's page: the first of all that belong to it.
 *
 * While somebody looks at it, its order stays: rows that ended stay where they are and say so, and
 * new ones wait. Otherwise rows go a moment after they ended.
 */

import { go, link } from "./address.js";
import { Attention } from "./attention.js";
import { el, set, setText } from "./dom.js";
import { Rows } from "./table.js";
import * as words from "./words.js";

const LINGERS_MS = 1_500;

export class JobList {
  #store;
  #options;
  #rows;
  #attention;
  #wanted = [];
  #shown = [];
  #timer = null;

  /** `options`: `title`, `empty`, `most`, `filters` of the list of all of them, `columns`. */
  constructor(store, options) {
    this.#store = store;
    this.#options = options;
    this.#rows = new Rows(options.columns, {
      label: options.title,
      get: (id) => store.state.jobs.get(id),
      open: (id) => go(link({ view: "job", id })),
      meaning: (job) => `${job.status} ${job.assigned_engine}`,
      describe: (row, job) => {
        set(row, "data-why-job", job.job_id);
        set(row, "data-ended", job.status === options.filters.status ? null : job.status);
      },
    });
    const id = `list-${options.filters.status}`;
    this.count = el("span", { class: "count number" });
    this.more = el("a", { class: "more" });
    this.empty = el("p", { class: "empty" }, options.empty);
    this.element = el(
      "section",
      { class: `panel list ${options.filters.status}`, "aria-labelledby": id },
      el("header", {}, el("h2", { id }, options.title), this.count, this.more),
      this.#rows.element,
      this.empty,
    );
    this.#attention = new Attention(this.element);
  }

  /** The job of the row that has the focus, or undefined. */
  get focused() {
    const isFocused = this.#rows.element.contains(document.activeElement);
    return isFocused ? this.#store.state.jobs.get(this.#rows.current) : undefined;
  }

  get isEmpty() {
    return this.#shown.length === 0;
  }

  get most() {
    return this.#options.most;
  }

  connect() {
    const end = this.#rows.connect();
    return () => {
      clearTimeout(this.#timer);
      end();
    };
  }

  /**
   * Takes the first of the jobs that belong here now, in their order, and how many there are. If not
   * `isAll`, that is how many of them are in memory, and there may be more.
   */
  take(jobs, count, { isAll = true } = {}) {
    const { filters } = this.#options;
    this.#wanted = jobs.map((job) => job.job_id);
    setText(this.count, isAll ? words.number(count) : `the newest ${words.number(count)}`);
    setText(this.more, isAll && count > jobs.length ? `all ${words.number(count)}` : "all");
    set(this.more, "href", link({ view: "jobs", filters }));
    set(this.more, "aria-label", `All jobs of “${this.#options.title}”`);
    this.more.hidden = count === 0;
    this.#arrange();
  }

  draw(change) {
    this.#rows.touch(change.all || change.jobs.size === 0 ? null : change.jobs);
  }

  onKey(event) {
    return this.#rows.onKey(event);
  }

  #arrange() {
    const wanted = new Set(this.#wanted);
    const isSame = this.#shown.length === wanted.size && this.#shown.every((id, at) => id === this.#wanted[at]);
    const leaves = this.#shown.some((id) => !wanted.has(id));
    if (!isSame && (leaves || this.#attention.held) && this.#shown.length > 0) this.#later();
    else if (!isSame) this.#show(this.#wanted);
    this.#drawEmpty();
  }

  #later() {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      if (this.#attention.held) return this.#later();
      this.#show(this.#wanted);
      this.#drawEmpty();
    }, LINGERS_MS);
  }

  #show(ids) {
    this.#shown = ids;
    this.#rows.setEntries(ids);
  }

  #drawEmpty() {
    const isEmpty = this.#shown.length === 0;
    this.empty.hidden = !isEmpty || this.#store.loading;
    this.#rows.element.hidden = isEmpty;
  }
}

/**
 * All jobs in one table, newest or oldest first: filtered, searched, and acted on in one go.
 *
 * What is alive is in memory. Finished jobs come from the dispatcher, page by page as one scrolls.
 * Until the first page is there, the table shows what is in memory already.
 */

import { go, link, refine } from "./address.js";
import { allThatMatch, can, cancelJobs, prioritizeJobs, retryJobs } from "./actions.js";
import { Attention } from "./attention.js";
import { el, fill, set, setText } from "./dom.js";
import { jobColumns } from "./job_columns.js";
import { askedOf, filtersOf, isOfTheLiving, makeFilters, matcher, pathOf } from "./job_filters.js";
import { announce } from "./notice.js";
import { Selection } from "./selection.js";
import { Rows } from "./table.js";
import { showWhy } from "./why.js";
import * as words from "./words.js";

const PAGE = 500;
const TAKES_IN_MS = 1_000;

class BoardJobs extends HTMLElement {
  #store = null;
  #address = null;
  #told = null; // the filters and the moment that are shown
  #matches = () => true;
  #isOldestFirst = false;
  #rows = null;
  #selection = new Selection(() => this.#drawSelection());
  #found = new Map(); // jobs that only the dispatcher's pages have
  #next = null; // the path of the next page
  #asking = null; // aborts the request under way
  #isComplete = false;
  #news = new Set();
  #leavers = new Set();
  #timer = null;
  #attention = null;
  #ends = [];

  show(address, store) {
    if (this.#store === null) this.#make(store);
    this.#address = address;
    this.filters.draw(address);
    this.#isOldestFirst = address.filters.get("order") === "oldest";
    this.#rows.drawSort("submitted", this.#isOldestFirst ? "ascending" : "descending");
    const told = JSON.stringify([filtersOf(address), address.moment, this.#isOldestFirst]);
    if (told === this.#told) return this.update({ jobs: new Set(), engines: new Set(), all: true });
    this.#told = told;
    this.#matches = matcher(askedOf(filtersOf(address)));
    this.#selection.clear();
    this.#load();
  }

  update(change) {
    if (change.all) {
      this.filters.draw(this.#address);
      const isOther = this.#state !== this.#store.state || this.#wasLoading !== this.#store.loading;
      if (isOther) this.#load();
      else this.#drawEmpty();
    }
    for (const id of change.jobs) this.#notice(id);
    this.#rows.touch(change.jobs.size === 0 || change.all ? null : change.jobs);
    if (change.jobs.size > 0 || change.all) this.#drawSelection();
    this.#drawNews();
  }

  disconnectedCallback() {
    clearTimeout(this.#timer);
    this.#asking?.abort();
    for (const end of this.#ends) end();
  }

  onKey(event) {
    if (event.key === "Escape" && this.#selection.size > 0) {
      this.#selectNone();
      return true;
    }
    if (event.key === "c" || event.key === "r") {
      if (!this.#store.may("client")) return false;
      if (event.key === "c") this.#cancel();
      else this.#retry();
      return true;
    }
    return this.#rows.onKey(event);
  }

  #state = null;
  #wasLoading = true;

  #make(store) {
    this.#store = store;
    this.filters = makeFilters(store);
    this.summary = el("p", { class: "summary weak" });
    this.news = el("button", { class: "news", hidden: true, onclick: () => this.#takeIn() });
    this.empty = el("p", { class: "empty", hidden: true });
    this.#rows = new Rows(jobColumns(store, this.#selection.box, this.#selection), {
      label: "Jobs",
      class: "of-jobs",
      get: (id) => this.#job(id),
      open: (id) => go(link({ view: "job", id })),
      meaning: (job) => `${job.status} ${job.assigned_engine} ${job.priority}`,
      selection: this.#selection,
      onSelect: () => this.#drawSelection(),
      onEnd: () => this.#more(),
      onSort: () => refine({ order: this.#isOldestFirst ? null : "oldest" }),
      describe: (row, job) => set(row, "data-status", job.status),
    });
    this.#selection.of(this.#rows);
    this.selected = this.#makeSelected();
    const panel = el("section", { class: "panel", "aria-label": "Jobs" }, this.news, this.#rows.element, this.empty);
    fill(
      this,
      el("div", { class: "view-head" }, el("h1", { class: "title" }, "Jobs"), this.summary),
      this.filters.element,
      panel,
      this.selected,
    );
    this.#attention = new Attention(panel);
    this.#ends = [this.#rows.connect(), showWhy(this, store)];
  }

  #makeSelected() {
    this.selectedText = el("strong", { role: "status" });
    const button = (text, act, named = "button") => el("button", { class: named, type: "button", onclick: act }, text);
    this.cancelButton = button("Cancel", () => this.#cancel(), "button danger");
    this.retryButton = button("Retry", () => this.#retry());
    this.priority = el("input", { type: "number", min: 0, max: 100, value: "0", "aria-label": "Priority, 0 to 100" });
    this.priorityButton = button("Set priority", () => this.#prioritize());
    this.wholeButtons = el(
      "span",
      { class: "whole" },
      button("Cancel all that match", () => this.#whole("cancel"), "button danger"),
      button("Retry all that match", () => this.#whole("retry")),
    );
    return el(
      "div",
      { class: "selected", hidden: true, role: "group", "aria-label": "Selected jobs" },
      this.selectedText,
      this.cancelButton,
      this.retryButton,
      el("span", { class: "with-number" }, this.priority, this.priorityButton),
      this.wholeButtons,
      button("Select none", () => this.#selectNone(), "quiet"),
    );
  }

  /** As `GET /jobs/` has it: it gives pages in the order of submission, and in no other. */
  get #order() {
    return this.#isOldestFirst ? "oldest" : "newest";
  }

  #job(id) {
    return this.#store.state.jobs.get(id) ?? this.#found.get(id);
  }

  /** Shows what is in memory, then asks for the rest. */
  #load() {
    this.#state = this.#store.state;
    this.#wasLoading = this.#store.loading;
    this.#asking?.abort();
    this.#found.clear();
    this.#news.clear();
    this.#leavers.clear();
    this.#next = null;
    this.#isComplete = isOfTheLiving(filtersOf(this.#address)) || this.#store.state.seq === 0;
    this.#arrange();
    if (this.#isComplete || this.#store.loading) return;
    const as_of = this.#store.asOf;
    this.#ask(pathOf("/jobs/", filtersOf(this.#address), { order: this.#order, limit: PAGE, as_of }));
  }

  async #ask(to) {
    this.#asking?.abort();
    const asking = (this.#asking = new AbortController());
    this.#next = null;
    try {
      const page = await this.#store.api.page(to, { signal: asking.signal });
      for (const job of page.items) this.#found.set(job.job_id, job);
      this.#next = page.next;
      this.#isComplete = page.next === null;
      this.#fault = null;
      this.#arrange();
      announce(this.summary.textContent || words.count(0, "job"));
    } catch (error) {
      if (error.name === "AbortError") return;
      this.#fault = error.text ?? String(error);
      this.#drawEmpty();
    }
  }

  #fault = null;

  #more() {
    if (this.#next !== null) this.#ask(this.#next);
  }

  /** Puts all that matches in order. Beyond the last page only what it may hide is left out. */
  #arrange() {
    this.#news.clear();
    this.#leavers.clear();
    const jobs = [];
    const isBehind = this.#isOldestFirst ? (one, other) => one > other : (one, other) => one < other;
    let last = null;
    for (const { submitted_at: at } of this.#found.values()) if (last === null || isBehind(at, last)) last = at;
    const isCut = !this.#isComplete && last !== null;
    for (const job of this.#store.state.jobs.values()) {
      if (this.#matches(job) && !(isCut && isBehind(job.submitted_at, last))) jobs.push(job);
    }
    for (const [id, job] of this.#found) {
      if (!this.#store.state.jobs.has(id) && this.#matches(job)) jobs.push(job);
    }
    jobs.sort(this.#isOldestFirst ? (a, b) => newestFirst(b, a) : newestFirst);
    this.#rows.setEntries(jobs.map((job) => job.job_id), this.#isComplete ? jobs.length : -1);
    this.#rows.touch();
    this.#drawEmpty();
    this.#drawSelection();
  }

  #drawEmpty() {
    const isEmpty = this.#rows.length === 0;
    const isFiltered = Object.keys(filtersOf(this.#address)).length > 0;
    const loading = this.#store.loading || (!this.#isComplete && this.#fault === null);
    this.#rows.element.hidden = isEmpty;
    this.empty.hidden = !isEmpty && this.#fault === null;
    setText(this.empty, this.#fault ?? (loading ? "Looking for jobs." : isFiltered ? "No job matches these filters." : "There are no jobs yet."));
    const shown = words.count(this.#rows.length, "job");
    setText(this.summary, isEmpty ? "" : this.#isComplete ? shown : `the ${this.#order} ${shown}`);
  }

  /** Notes a job that changed: one that now belongs here, or no longer does. */
  #notice(id) {
    const job = this.#store.state.jobs.get(id);
    if (job !== undefined && this.#found.has(id)) this.#found.set(id, job);
    const belongs = job !== undefined && this.#matches(job);
    const isHere = this.#rows.has(id);
    if (belongs && !isHere) this.#news.add(id);
    else this.#news.delete(id);
    if (!belongs && isHere && job !== undefined) this.#leavers.add(id);
    else this.#leavers.delete(id);
    if (this.#news.size + this.#leavers.size > 0) this.#later();
  }

  /** Takes changes in by itself, while nobody looks at the order. */
  #later() {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      const isWatched = this.#attention.held || this.#selection.size > 0;
      if (isWatched) this.#later();
      else if (this.#news.size + this.#leavers.size > 0) this.#arrange();
      this.#drawNews();
    }, TAKES_IN_MS);
  }

  #takeIn() {
    this.#arrange();
    this.#drawNews();
  }

  #drawNews() {
    const parts = [];
    if (this.#news.size > 0) parts.push(`${words.number(this.#news.size)} new`);
    if (this.#leavers.size > 0) parts.push(`${words.number(this.#leavers.size)} changed`);
    this.news.hidden = parts.length === 0 || (this.#selection.size === 0 && !this.#attention.held);
    setText(this.news, `${parts.join(", ")}: show`);
  }

  #chosen() {
    const ids = this.#selection.size > 0 ? [...this.#selection] : [this.#rows.current];
    return ids.map((id) => this.#job(id)).filter((job) => job !== undefined);
  }

  #drawSelection() {
    const jobs = [...this.#selection].map((id) => this.#job(id)).filter((job) => job !== undefined);
    const may = this.#store.may("client");
    this.selected.hidden = jobs.length === 0 || !may;
    this.#selection.drawBox(jobs.length, this.#rows.length);
    if (jobs.length === 0) return;
    const fit = (test) => jobs.filter(test).length;
    setText(this.selectedText, `${words.number(jobs.length)} selected`);
    drawButton(this.cancelButton, "Cancel", fit(can.cancel));
    drawButton(this.retryButton, "Retry", fit(can.retry));
    drawButton(this.priorityButton, "Set priority of", fit(can.priority));
    const filters = filtersOf(this.#address);
    const isAll = jobs.length === this.#rows.length;
    this.wholeButtons.hidden = this.#isComplete || !isAll || Object.keys(filters).length === 0;
  }

  #selectNone() {
    this.#selection.none();
    if (this.selected.contains(document.activeElement) || document.activeElement === document.body) this.#rows.focus();
  }

  async #cancel() {
    if (await cancelJobs(this.#store, this.#chosen())) this.#selectNone();
  }

  async #retry() {
    if (await retryJobs(this.#store, this.#chosen())) this.#selectNone();
  }

  async #prioritize() {
    const priority = Number(this.priority.value);
    if (!this.priority.reportValidity()) return;
    if (await prioritizeJobs(this.#store, this.#chosen(), priority)) this.#selectNone();
  }

  async #whole(act) {
    if (await allThatMatch(this.#store, act, filtersOf(this.#address))) this.#selectNone();
  }
}

/** Jobs of one batch have one time; their ids end with their numbers in it. */
function newestFirst(a, b) {
  if (a.submitted_at !== b.submitted_at) return a.submitted_at < b.submitted_at ? 1 : -1;
  return b.job_id.length - a.job_id.length || (a.job_id < b.job_id ? 1 : -1);
}

function drawButton(button, verb, count) {
  setText(button, `${verb} ${words.number(count)}`);
  button.disabled = count === 0;
}

customElements.define("board-jobs", BoardJobs);

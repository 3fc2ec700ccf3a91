/**
 * The events of one job or engine, or of the whole log, newest first, as sentences with their lines.
 *
 * Laws:
 * - Events are kept by seq, so that none is shown twice however they came: loaded, heard or both.
 * - A line is shown as the dispatcher sent it, and as text.
 */

import { query } from "./api.js";
import { el, set, setText } from "./dom.js";
import { sentenceOf } from "./sentences.js";
import { told } from "./telling.js";
import { exactly, number, when } from "./words.js";

const PAGE = 1_000;
const SHOWN = 50;

export class Events {
  /** `about` is `{job}` or `{engine}`; `changed` is called when there are more. */
  constructor(store, about, changed) {
    this.store = store;
    this.about = about;
    this.changed = changed;
    this.list = null; // oldest first; null until they are loaded
    this.fault = null;
    this.bySeq = new Map();
    this.most = SHOWN;
    this.stopped = false;
    this.reading = null;
    this.table = new EventTable(about);
    this.progress = el("input", { type: "checkbox", id: "events-progress", onchange: () => this.draw(this.shown, this.now) });
    this.more = el("button", { type: "button", class: "quiet", hidden: true, onclick: () => this.#showMore() });
    this.node = el("div", {}, el("p", { class: "events-choice" }, this.progress, " ", el("label", { for: "events-progress" }, "With progress")), this.table.node, this.more);
  }

  /** Load all events and follow the feed until `stop`. `after` leaves out older ones. */
  start(after = 0) {
    this.after = after;
    this.unlisten = this.store.listen((events) => {
      const own = events.filter((event) => this.#isOwn(event));
      if (own.length && this.list !== null) this.#take(own);
      else if (own.length) own.forEach((event) => this.bySeq.set(event.seq, event));
    });
    return this.catchUp();
  }

  stop() {
    this.stopped = true;
    this.unlisten?.();
  }

  /** Load what is newer than all that is here. */
  catchUp() {
    this.reading ??= this.#read().finally(() => (this.reading = null));
    return this.reading;
  }

  async #read() {
    const found = [];
    try {
      const after = this.list?.at(-1)?.seq ?? this.after;
      for (let next = query("/events", { ...this.about, after, limit: PAGE }); next !== null; ) {
        const page = await this.store.api.page(next);
        if (this.stopped) return;
        found.push(...page.items);
        next = page.next;
      }
      this.fault = null;
    } catch (error) {
      this.fault = this.list === null ? error : null;
    }
    if (!this.stopped && (found.length || this.list === null || this.fault)) this.#take(found);
  }

  #isOwn(event) {
    if (this.about.job !== undefined) return event.job_id === this.about.job;
    return event.engine_id === this.about.engine;
  }

  #take(events) {
    for (const event of events) this.bySeq.set(event.seq, event);
    if (this.fault === null) this.list = [...this.bySeq.values()].sort((one, other) => one.seq - other.seq);
    this.changed();
  }

  #showMore() {
    this.most += SHOWN * 4;
    this.draw(this.shown, this.now);
  }

  /** Show the newest of these events. */
  draw(shown, now) {
    this.shown = shown;
    this.now = now;
    const told = this.progress.checked ? shown : shown.filter(({ type }) => type !== "job_progressed");
    this.table.show(told.slice(-this.most).reverse(), now);
    const hidden = Math.max(told.length - this.most, 0);
    set(this.more, "hidden", hidden === 0);
    setText(this.more, `Show older events (${number(hidden)} more)`);
  }
}

/** A table of events, newest first. Rows that are there stay, so that an open one stays open. */
export class EventTable {
  constructor(about = {}) {
    this.about = about;
    this.rows = new Map();
    const heading = (text) => el("th", { scope: "col" }, text);
    this.body = el("tbody", {});
    this.node = el(
      "div",
      { class: "scroll-x" },
      el(
        "table",
        { class: "events" },
        el("thead", {}, el("tr", {}, heading("Seq"), heading("Time"), heading("What happened"), heading("By"))),
        this.body,
      ),
    );
  }

  show(events, now) {
    const kept = new Map();
    for (const event of events) kept.set(event.seq, this.rows.get(event.seq) ?? this.#row(event, now));
    for (const [seq, row] of this.rows) if (!kept.has(seq)) row.remove();
    let at = this.body.firstElementChild;
    for (const row of kept.values()) {
      if (row === at) at = at.nextElementSibling;
      else this.body.insertBefore(row, at);
    }
    this.rows = kept;
  }

  #row(event, now) {
    const isOwn = { jobs: this.about.job === undefined, engines: this.about.engine === undefined };
    const line = JSON.stringify(event, null, 1);
    return el(
      "tr",
      {},
      el("td", { class: "num" }, number(event.seq)),
      el("td", {}, el("time", { datetime: event.time, title: exactly(event.time) }, when(event.time, now, { seconds: true }))),
      el(
        "td",
        { class: "what" },
        el("details", {}, el("summary", {}, sentenceOf(told(event), isOwn)), el("pre", { class: "mono" }, line)),
      ),
      el("td", { class: "weak" }, event.actor),
    );
  }
}

/**
 * The farm over an hour, a day or a week: charts of jobs, of the queue and of the engines.
 *
 * Laws:
 * - The series come from `GET /statistics/series`; what happens after that is added from the events,
 *   live or played, so that nothing is polled.
 * - One cursor goes through all charts. It follows the pointer, or the arrows of the keyboard.
 */

import { refine } from "./address.js";
import { query } from "./api.js";
import { chartOf, coarser, pointAt, rowsOf, stepAt } from "./charts.js";
import { el, fill, set, setText } from "./dom.js";
import { duration, number, when } from "./words.js";

const SPANS = { 1: "Hour", 24: "Day", 168: "Week", 720: "Month" };
const HEIGHT = 112;

const PANELS = [
  {
    title: "Jobs",
    series: [
      { name: "completed", kind: "done", form: "bars" },
      { name: "failed", kind: "failed", form: "bars" },
      { name: "cancelled", kind: "cancelled", form: "bars" },
      { name: "submitted", kind: "submitted", form: "line" },
    ],
    sums: true,
  },
  { title: "Waiting", series: [{ name: "waiting", kind: "waiting", form: "area" }] },
  {
    title: "Engines",
    series: [
      { name: "busy", kind: "busy", form: "area" },
      { name: "online", kind: "online", form: "line" },
    ],
  },
];
/** Px that a step has at least; finer ones are put together. */
const LEAST_PX = 4;
/** Rows of a table at most. */
const ROWS = 48;
/** What is counted over a step; all else is as at its end. */
const SUMS = new Set(["submitted", "completed", "failed", "cancelled"]);
const NAMES = ["submitted", "completed", "failed", "cancelled", "waiting", "busy", "online"];
const COUNTED = {
  job_submitted: "submitted",
  job_completed: "completed",
  job_failed_permanently: "failed",
  job_cancelled: "cancelled",
};

export class BoardCharts extends HTMLElement {
  #store = null;
  #series = null;
  #hours = null;
  #seq = null; // of the state that the series were asked for
  #asking = false;
  #step = null;
  #panels = [];
  #unlisten = null;
  #width = 0;

  show({ filters }, store) {
    this.#store = store;
    if (!this.firstChild) this.#make();
    const hours = filters.get("hours") in SPANS ? filters.get("hours") : "24";
    if (hours !== this.#hours) {
      this.#hours = hours;
      this.#seq = null;
    }
    for (const button of this.spans.children) set(button, "aria-pressed", String(button.dataset.hours === hours));
    this.update({ all: true });
  }

  update(change) {
    if (this.#store === null || this.#store.loading || this.#store.state.seq === 0) return;
    const jumped = this.#seq === null || this.#store.state.seq < this.#seq || (change.all && this.#store.round !== this.#asked);
    if (jumped) this.#load();
    else if (this.#series) this.#follow();
  }

  #asked = null; // round of the store that the series were asked for

  disconnectedCallback() {
    this.#unlisten?.();
    this.observer?.disconnect();
  }

  #make() {
    const span = ([hours, text]) =>
      el("button", { type: "button", "data-hours": hours, onclick: () => refine({ hours: hours === "24" ? null : hours }) }, text);
    this.spans = el("div", { class: "segmented", role: "group", "aria-label": "Span of the charts" }, Object.entries(SPANS).map(span));
    this.readout = el("p", { class: "chart-readout weak" });
    this.#panels = PANELS.map((panel) => this.#panelOf(panel));
    fill(
      this,
      el("div", { class: "chart-bar" }, this.spans, this.readout),
      el("div", { class: "chart-panels" }, this.#panels.map(({ figure }) => figure)),
    );
    this.#unlisten = this.#store.listen((events) => this.#take(events));
    this.observer = new ResizeObserver(() => this.#draw());
    this.observer.observe(this);
  }

  #panelOf(panel) {
    const plot = el("div", {
      class: "chart-frame",
      tabindex: 0,
      role: "slider",
      "aria-label": `${panel.title}; the arrows go from step to step`,
      "aria-valuemin": 0,
      "aria-valuemax": 0,
      "aria-valuenow": 0,
      "aria-valuetext": "loading",
    });
    plot.addEventListener("pointermove", (event) => this.#point(stepAt(event.offsetX, plot.clientWidth, this.#shown.count)));
    plot.addEventListener("pointerleave", () => this.#point(null));
    plot.addEventListener("focus", () => this.#point(this.#step ?? this.#shown.count - 1));
    plot.addEventListener("blur", () => this.#point(null));
    plot.addEventListener("keydown", (event) => this.#onKey(event));
    const sum = el("span", { class: "chart-sum" });
    const table = el("table", {});
    const figure = el("figure", { class: "chart" }, el("figcaption", {}, el("h2", {}, panel.title), sum), plot, el("div", { class: "visually-hidden" }, table));
    return { ...panel, plot, sum, table, figure };
  }

  get #count() {
    return this.#series?.submitted.length ?? 0;
  }

  /** Make what is drawn of the series: no more steps than the eye can tell apart. */
  #coarsen(width) {
    const factor = Math.max(Math.ceil((this.#count * LEAST_PX) / Math.max(width, 1)), 1);
    const { from, step_s: stepS } = this.#series;
    const values = Object.fromEntries(NAMES.map((name) => [name, coarser(this.#series[name], factor, SUMS.has(name))]));
    const count = values.submitted.length;
    const missing = count * factor - this.#count; // the first step is as long as the others
    this.#shown = { values, count, stepS: stepS * factor, from: Date.parse(from) - missing * stepS * 1000 };
  }

  #shown = { values: {}, count: 0, stepS: 0, from: 0 };

  /** Ask for the series of the state that is shown; while an answer is awaited, for none other. */
  async #load() {
    if (this.#asking) return;
    this.#asking = true;
    const { asOf, round, state, api } = this.#store;
    const [hours, seq] = [this.#hours, state.seq];
    try {
      const series = await api.get(query("/statistics/series", { hours, as_of: asOf }));
      this.#series = series;
      this.#seq = series.seq;
      this.#asked = round;
    } catch (error) {
      this.#seq = seq;
      this.#asked = round;
      if (this.isConnected) setText(this.readout, error.status === 404 ? "" : (error.text ?? error.message));
    }
    this.#asking = false;
    if (!this.isConnected) return;
    this.#draw();
    if (hours !== this.#hours || round !== this.#store.round) {
      this.#seq = null;
      this.update({ all: true });
    }
  }

  #take(events) {
    if (this.#series === null || this.#seq === null) return;
    for (const event of events) {
      if (event.seq <= this.#seq) continue;
      this.#seq = event.seq;
      const name = COUNTED[event.type];
      if (name === undefined) continue;
      this.#advance(Date.parse(event.time));
      this.#series[name][this.#count - 1] += 1;
    }
  }

  /** Begin new steps up to a time; the oldest ones go. */
  #advance(time) {
    const series = this.#series;
    const stepMs = series.step_s * 1000;
    let end = Date.parse(series.from) + stepMs * this.#count;
    while (time >= end && end + stepMs * this.#count > time) {
      for (const name of NAMES) {
        const values = series[name];
        values.push(SUMS.has(name) ? 0 : values.at(-1));
        values.shift();
      }
      end += stepMs;
      series.from = new Date(end - stepMs * this.#count).toISOString();
    }
  }

  #follow() {
    const { state } = this.#store;
    this.#advance(this.#store.now());
    const last = this.#count - 1;
    const engines = [...state.engines.values()];
    this.#series.waiting[last] = state.counts.pending;
    this.#series.busy[last] = engines.filter((engine) => engine.current_job !== null).length;
    this.#series.online[last] = engines.filter((engine) => engine.online).length;
    this.#draw();
  }

  #draw() {
    const series = this.#series;
    if (series === null) return;
    const width = this.#panels[0].plot.clientWidth;
    const key = JSON.stringify([series, width]);
    if (width < 60 || key === this.#drawn) return;
    this.#drawn = key;
    this.#width = width;
    this.#coarsen(width);
    for (const panel of this.#panels) this.#drawPanel(panel, width);
    this.#point(this.#step);
  }

  #drawn = "";

  #drawPanel({ series, plot, sum, table, sums, title }, width) {
    const { values, from, stepS, count } = this.#shown;
    const given = series.map((it) => ({ ...it, values: values[it.name] }));
    fill(plot, chartOf({ series: given, from, stepS, width, height: HEIGHT }));
    set(plot, "aria-valuemax", Math.max(count - 1, 0));
    const told = ({ name, kind, values: all }) => {
      const value = sums ? all.reduce((total, one) => total + one, 0) : all.at(-1);
      return el("span", { class: `chart-key ${kind}` }, `${number(value)} ${name} `);
    };
    fill(sum, given.map(told));
    this.#drawTable(table, given, title);
  }

  /** Make the table when a step has begun; what happens within one, the slider's text says. */
  #drawTable(table, series, title) {
    const { from, stepS, count } = this.#shown;
    const factor = Math.max(Math.ceil(count / ROWS), 1);
    const key = `${from} ${stepS} ${count}`;
    if (table.dataset.key === key) return; // to lay a long table out takes longer than a frame has
    table.dataset.key = key;
    const coarse = series.map((it) => ({ ...it, values: coarser(it.values, factor, SUMS.has(it.name)) }));
    const begin = from - (Math.ceil(count / factor) * factor - count) * stepS * 1000;
    const rows = rowsOf({ series: coarse, from: begin, stepS: stepS * factor });
    fill(
      table,
      el("caption", {}, `${title}, by steps of ${duration(stepS * factor * 1000)}`),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "From"), series.map(({ name }) => el("th", { scope: "col" }, name)))),
      el(
        "tbody",
        {},
        rows.map(([time, ...values]) =>
          el("tr", {}, el("th", { scope: "row" }, when(time, this.#store.now())), values.map((value) => el("td", {}, number(value)))),
        ),
      ),
    );
  }

  #point(step) {
    this.#step = step;
    const last = Math.max(this.#shown.count - 1, 0);
    for (const { plot, series } of this.#panels) {
      if (plot.firstChild) pointAt(plot.firstChild, step, this.#width, this.#shown.count);
      set(plot, "aria-valuenow", step ?? last);
      set(plot, "aria-valuetext", this.#told(step ?? last, series));
    }
    setText(this.readout, step === null ? "" : this.#told(step, PANELS.flatMap(({ series }) => series)));
  }

  #told(step, series) {
    const { values, from, stepS, count } = this.#shown;
    if (step >= count) return "no values yet";
    const at = from + step * stepS * 1000;
    const texts = series.map(({ name }) => `${number(values[name][step] ?? 0)} ${name}`);
    return `${when(at, this.#store.now())} to ${when(at + stepS * 1000, this.#store.now())}: ${texts.join(", ")}`;
  }

  #onKey(event) {
    const last = this.#shown.count - 1;
    const at = this.#step ?? last;
    const to = { ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1, Home: 0, End: last, PageUp: at + 10, PageDown: at - 10 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#point(Math.min(Math.max(to, 0), last));
  }
}

customElements.define("board-charts", BoardCharts);

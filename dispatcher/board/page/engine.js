/**
 * One engine: what it does, its day as a band, its last failures, its speed, and what it reports.
 *
 * Laws:
 * - The day is made of the engine's own events up to the seq that is shown. Of heartbeats only those
 *   count that come first after a silence, since no other changes a band.
 * - The events that were loaded and those that are heard are kept together by seq. Those from before
 *   the day are folded into what the engine was when it begins, and let go.
 */

import { actOnEngines } from "./actions.js";
import { link } from "./address.js";
import { path, query } from "./api.js";
import { px, tickText, timeTicks } from "./charts.js";
import { bandsOf, engineAfter, shares } from "./day.js";
import { el, fill, set, setText, svg, visible } from "./dom.js";
import { factsOf } from "./job.js";
import { engineMark, engineState } from "./states.js";
import { endOf } from "./telling.js";
import { decimal, duration, exactly, jobName, number, percent, sentence, shortId, when } from "./words.js";

const DAY_MS = 86_400_000;
const HEIGHT = 40;
const FAILURES = 10;
const LOOKED_UP = 20;
/** After a load that failed, until the next. */
const AGAIN_MS = 5_000;
/** So much older than the day events become before they are let go. */
const LET_GO_MS = 3_600_000;
/** What can change a band. Of the first sign of life after a silence see `#events`. */
const TYPES = [
  "job_assigned", "job_completed", "job_requeued", "job_failed_permanently", "job_cancelled", "job_split",
  "engine_lost", "engine_blocked", "engine_unblocked", "engine_drained", "engine_resumed",
  "engine_forgotten",
];
const WORDS = { working: "working", idle: "idle", silent: "silent", blocked: "blocked", drained: "drained", absent: "not there" };
const SHOWN = new Set([
  "engine_id", "status", "current_job", "online", "last_seen", "drained", "blocked", "blocked_until",
]);

export class BoardEngine extends HTMLElement {
  #store = null;
  #id = null;
  #moment = undefined;
  #round = 0;
  #day = null; // {from, before, bySeq, isLoaded}; `before` is the engine as it was at `from`
  #isStale = true; // what is drawn is of another state than the one that is shown
  #failedAt = null; // when the last load failed
  #codecs = new Map(); // job → codec, null if it is not known
  #speeds = null;
  #unlisten = null;
  #step = null;
  #bands = [];

  show({ id, moment }, store) {
    this.#store = store;
    if (id !== this.#id) this.#begin(id);
    if (moment !== this.#moment) this.#isStale = true;
    this.#moment = moment;
    this.update({ all: true });
  }

  update(change) {
    if (this.#id === null) return;
    const isReady = !this.#store.loading && this.#store.state.time !== null;
    if (this.#store.loading) this.#isStale = true;
    const isDue = this.#failedAt !== null && performance.now() - this.#failedAt > AGAIN_MS;
    if (isReady && (this.#isStale || isDue)) this.#load();
    if (!change.all && !change.tick && !this.#isOf(change)) return;
    this.#drawHead();
    if (change.tick) this.#lookUp();
    this.#drawDay();
  }

  /** Whether a change is of this engine, or of the job that it has. */
  #isOf({ engines, jobs }) {
    return engines.has(this.#id) || jobs.has(this.#engine?.current_job);
  }

  disconnectedCallback() {
    this.#unlisten?.();
    this.observer?.disconnect();
    this.#id = null;
  }

  #begin(id) {
    this.#unlisten?.();
    this.observer?.disconnect();
    this.#id = id;
    this.#day = this.#speeds = null;
    this.#isStale = true;
    const made = (tag, name) => (this[name] = el(tag, { class: name }));
    this.band = el("div", { class: "day-band", tabindex: 0, role: "slider", "aria-label": "Its day; the arrows go from one state to the next", "aria-valuemin": 0, "aria-valuemax": 0, "aria-valuenow": 0, "aria-valuetext": "loading", onkeydown: (event) => this.#onBandKey(event), onfocus: () => this.#tell(this.#step ?? this.#bands.length - 1), onpointermove: (event) => this.#hover(event) });
    fill(
      this,
      el("header", { class: "page-head" }, made("p", "crumb"), (this.headline = el("h1", { class: "headline", tabindex: -1 })), made("p", "reason"), made("div", "actions")),
      el("section", { "aria-labelledby": "day-title" }, el("h2", { id: "day-title" }, "Its day"), this.band, made("p", "told"), made("ul", "legend")),
      el(
        "div",
        { class: "two" },
        el("section", { "aria-labelledby": "failures-title" }, el("h2", { id: "failures-title" }, "Last failures"), made("div", "failures")),
        el("section", { "aria-labelledby": "speeds-title" }, el("h2", { id: "speeds-title" }, "Speed"), made("div", "speeds")),
      ),
      el("section", { "aria-labelledby": "reports-title" }, el("h2", { id: "reports-title" }, "What it reports"), made("div", "reports")),
    );
    this.#unlisten = this.#store.listen((events) => this.#take(events));
    this.observer = new ResizeObserver(() => this.#drawDay());
    this.observer.observe(this.band);
  }

  get #engine() {
    return this.#store.state.engines.get(this.#id);
  }

  async #load() {
    const round = (this.#round += 1);
    const { api, state, moment } = this.#store;
    const to = moment === null ? this.#store.now() : Date.parse(state.time);
    const from = to - DAY_MS;
    const day = { from, before: null, bySeq: new Map(), isLoaded: false };
    this.#day = day;
    this.#isStale = false;
    this.#failedAt = null;
    const { asOf } = this.#store;
    try {
      const then = await api.page(query("/engines/", { as_of: new Date(from).toISOString() }));
      day.before = then.items.find((engine) => engine.engine_id === this.#id) ?? null;
      for (const event of await this.#events(then.seq, state.seq)) day.bySeq.set(event.seq, event);
      this.#speeds = await api.get(query("/statistics/speeds", { as_of: asOf })).catch(() => null);
    } catch (error) {
      if (round !== this.#round || !this.isConnected) return;
      this.#failedAt = performance.now();
      return void setText(this.told, error.text ?? error.message);
    }
    if (round !== this.#round || !this.isConnected) return;
    day.isLoaded = true;
    await this.#lookUp();
    this.#drawHead();
    this.#drawDay();
  }

  /** Take events that were heard or played, if they can change a band. */
  #take(events) {
    const day = this.#day;
    if (day === null) return;
    const own = events.filter((event) => event.engine_id === this.#id);
    for (const event of own) {
      // While the day is loaded nobody knows yet whether the engine is silent.
      if (!day.isLoaded || TYPES.includes(event.type) || this.#isSilent()) day.bySeq.set(event.seq, event);
    }
    if (own.some(({ job_id: job }) => job !== undefined)) this.#lookUp();
  }

  /** The events of the day, oldest first. */
  get #told() {
    return [...(this.#day?.bySeq.values() ?? [])].sort((one, other) => one.seq - other.seq);
  }

  #isSilent() {
    return !engineAfter(this.#told, this.#day.before)?.online;
  }

  /** Fold what is older than the day into what the engine was before it. */
  #letGo(events, from) {
    const day = this.#day;
    if (!(Date.parse(events[0]?.time) < from - LET_GO_MS)) return events;
    const first = events.findIndex(({ time }) => !(Date.parse(time) < from));
    const gone = first < 0 ? events : events.slice(0, first);
    day.before = engineAfter(gone, day.before);
    day.from = from;
    for (const { seq } of gone) day.bySeq.delete(seq);
    return events.slice(gone.length);
  }

  /** The events after a seq, up to another, that can change a band. */
  async #events(after, upto) {
    const about = { engine: this.#id, limit: 10_000 };
    const pages = async (filters) => {
      const found = [];
      for (let next = query("/events", { ...about, ...filters }); next !== null; ) {
        const page = await this.#store.api.page(next);
        found.push(...page.items);
        next = page.next;
      }
      return found;
    };
    const lists = await Promise.all(TYPES.map((type) => pages({ after, type })));
    const found = lists.flat();
    const ends = found.filter(({ type }) => type === "engine_lost" || type === "engine_forgotten").sort((one, other) => one.seq - other.seq).slice(-LOOKED_UP);
    const signs = await Promise.all([{ seq: after }, ...ends].map(({ seq }) => this.#store.api.get(query("/events", { engine: this.#id, after: seq, limit: 5 }))));
    const bySeq = new Map([...found, ...signs.flat()].map((event) => [event.seq, event]));
    return [...bySeq.values()].filter(({ seq }) => seq <= upto).sort((one, other) => one.seq - other.seq);
  }

  /** Learn the codecs of the jobs that it had: of those in memory, and of some others. */
  async #lookUp() {
    if (document.hidden) return; // it is looked up when somebody looks
    const jobs = new Set(this.#told.map(({ job_id: job }) => job).filter(Boolean));
    if (this.#day?.before?.current_job) jobs.add(this.#day.before.current_job);
    const { state, api } = this.#store;
    for (const job of jobs) if (state.jobs.has(job)) this.#codecs.set(job, state.jobs.get(job).target_codec);
    const unknown = [...jobs].filter((job) => !this.#codecs.has(job)).slice(-LOOKED_UP);
    for (const job of unknown) this.#codecs.set(job, null);
    await Promise.all(
      unknown.map(async (job) => {
        const found = await api.get(path`/jobs/${job}`).catch(() => null);
        if (found) this.#codecs.set(job, found.target_codec);
      }),
    );
    if (unknown.length) this.#drawDay();
  }

  #drawHead() {
    const engine = this.#engine;
    if (this.#store.loading && !engine) return;
    if (!engine) {
      fill(this.crumb, el("span", { class: "weak mono" }, this.#id));
      setText(this.headline, "There is no such engine");
      setText(this.reason, "No engine of this id is known at this time. It was never heard, or was forgotten.");
      delete this.actions.dataset.key;
      return void fill(this.actions);
    }
    fill(this.crumb, engineMark(engineState(engine)), el("span", { class: "weak" }, engine.engine_type ? ` ${engine.engine_type}` : ""));
    setText(this.headline, this.#id);
    fill(this.reason, this.#doing(engine));
    document.title = visible(`${this.#id} – ${engineState(engine)}`);
    this.#drawActions(engine);
    this.#drawReports(engine);
    this.#drawSpeeds();
  }

  #doing(engine) {
    const now = this.#store.now();
    const job = engine.current_job ? this.#store.state.jobs.get(engine.current_job) : null;
    const at = typeof job?.progress === "number" ? `, ${percent(job.progress)}` : "";
    const has = engine.current_job
      ? ["It has ", el("a", { href: link({ view: "job", id: engine.current_job }), title: engine.current_job }, job ? jobName(job) : shortId(engine.current_job)), `${job ? ` (${job.target_codec})` : ""}${at}. `]
      : [];
    const seen = engine.last_seen ? el("time", { datetime: engine.last_seen, title: exactly(engine.last_seen) }, when(engine.last_seen, now, { seconds: true })) : "never";
    switch (engineState(engine)) {
      case "silent":
        return ["It is silent since ", seen, `, for ${duration(now - Date.parse(engine.last_seen))}, and gets no jobs until it is heard again.`];
      case "blocked":
        return [...has, `It is blocked: ${sentence(engine.blocked)} `, engine.blocked_until ? `It may try again at ${when(engine.blocked_until, now)}.` : "It gets no jobs until somebody resumes it."];
      case "draining":
        if (!engine.drained) return [...has, `It takes no new jobs now: ${sentence(engine.resting)}`];
        return engine.current_job ? [...has, "It is drained: it finishes this job and gets no more."] : ["It is drained and gets no jobs until somebody resumes it."];
      default:
        return engine.current_job ? [...has, "Last heard at ", seen, "."] : ["It is free. Last heard at ", seen, "."];
    }
  }

  #drawActions(engine) {
    const isReachable = ![".", "..", "", "heartbeat", "benchmark_result"].includes(this.#id) && !this.#id.includes("/");
    const may = this.#store.may("operator") && isReachable;
    const stopped = engine.drained || engine.blocked !== null;
    const key = JSON.stringify([may, engine.drained, stopped]);
    if (this.actions.dataset.key === key) return;
    this.actions.dataset.key = key;
    const hadFocus = this.actions.contains(document.activeElement);
    const button = (text, act, kind = "") =>
      el("button", { type: "button", class: `button ${kind}`, onclick: () => actOnEngines(this.#store, act, [this.#engine]) }, text);
    fill(
      this.actions,
      may && !engine.drained && button("Drain", "drain"),
      may && stopped && button("Resume", "resume"),
      may && button("Forget", "forget", "danger"),
    );
    if (hadFocus) (this.actions.querySelector("button") ?? this.headline).focus();
  }

  #drawReports(engine) {
    const facts = Object.entries(engine)
      .filter(([name]) => !SHOWN.has(name))
      .map(([name, value]) => [name.replaceAll("_", " "), told(value)]);
    fill(this.reports, factsOf(facts));
  }

  #drawSpeeds() {
    if (this.#speeds === null) return;
    const own = Object.entries(this.#speeds.engines?.[this.#id] ?? {});
    if (!own.length) return void fill(this.speeds, el("p", { class: "weak" }, "It has completed no job that tells of its speed."));
    const heading = (text, kind = "") => el("th", { scope: "col", class: kind }, text);
    const rows = own.map(([codec, speed]) => {
      const farm = this.#speeds.codecs?.[codec];
      return el(
        "tr",
        {},
        el("th", { scope: "row" }, codec),
        el("td", { class: "num" }, number(speed.jobs)),
        el("td", { class: "num" }, duration(speed.seconds * 1000)),
        el("td", { class: "num" }, farm ? duration(farm.seconds * 1000) : ""),
        el("td", { class: "num" }, farm ? compared(speed, farm) : ""),
      );
    });
    fill(
      this.speeds,
      el("div", { class: "scroll-x", role: "region", tabindex: 0, "aria-labelledby": "speeds-title" }, el("table", {}, el("thead", {}, el("tr", {}, heading("Codec"), heading("Jobs", "num"), heading("A job takes", "num"), heading("On the farm", "num"), heading("Compared, for its size", "num"))), el("tbody", {}, rows))),
    );
  }

  #drawDay() {
    const day = this.#day;
    const width = Math.floor(this.band?.clientWidth ?? 0);
    if (!day?.isLoaded || width < 60) return;
    const { state, moment } = this.#store;
    const to = moment === null ? this.#store.now() : Date.parse(state.time);
    const from = to - DAY_MS;
    const shown = moment === null ? this.#told : this.#told.filter(({ seq }) => seq <= state.seq);
    const events = this.#letGo(shown, from);
    const bands = bandsOf(events, { from: day.from, to, before: day.before });
    this.#bands = bands.filter((band) => band.to > from).map((band) => ({ ...band, from: Math.max(band.from, from) }));
    const key = JSON.stringify([this.#bands.map(({ state: it, job }) => [it, job, this.#codecs.get(job)]), width, Math.floor(to / 10_000)]);
    if (key === this.#drawnFor) return;
    this.#drawnFor = key;
    fill(this.band, this.#bandOf(from, to, width));
    set(this.band, "aria-valuemax", Math.max(this.#bands.length - 1, 0));
    this.#drawLegend();
    this.#drawFailures(events);
    this.#tell(this.#step ?? this.#bands.length - 1);
  }

  #drawnFor = "";

  #bandOf(from, to, width) {
    const x = (time) => px((width * (time - from)) / (to - from));
    const ticks = timeTicks(from, to, Math.max(Math.floor(width / 80), 2));
    return svg(
      "svg",
      { class: "day-plot", width, height: HEIGHT + 20, viewBox: `0 0 ${width} ${HEIGHT + 20}`, "aria-hidden": "true" },
      this.#bands.map((band) => {
        const [left, right] = [x(band.from), x(band.to)];
        const codec = band.state === "working" ? this.#codecs.get(band.job) : null;
        const tall = { working: [4, 32], silent: [8, 24], blocked: [8, 24], drained: [12, 16], idle: [18, 4], absent: [19, 1] }[band.state];
        const box = { x: left, width: Math.max(right - left, 1), y: tall[0], height: tall[1] };
        const text = codec ?? WORDS[band.state];
        return svg(
          "g",
          { class: `day-${band.state} ${codec ? `codec-${codecClass(codec)}` : ""}` },
          svg("rect", box),
          right - left > 12 + 7 * text.length && !["idle", "absent"].includes(band.state) ? svg("text", { x: (left + right) / 2, y: 24, "text-anchor": "middle" }, text) : null,
        );
      }),
      ticks.map((time) => svg("line", { class: "day-tick", x1: x(time), x2: x(time), y1: HEIGHT, y2: HEIGHT + 4 })),
      ticks.filter((time) => x(time) > 20 && x(time) < width - 20).map((time) => svg("text", { class: "day-time", x: x(time), y: HEIGHT + 16, "text-anchor": "middle" }, tickText(time, to - from))),
      svg("line", { class: "day-cursor", x1: -9, x2: -9, y1: 0, y2: HEIGHT }),
    );
  }

  #drawLegend() {
    const sums = [...shares(this.#bands, (job) => this.#codecs.get(job))].filter(([, s]) => s >= 1);
    sums.sort((one, other) => other[1] - one[1]);
    const all = sums.reduce((sum, [, s]) => sum + s, 0);
    fill(
      this.legend,
      sums.map(([name, s]) => el("li", {}, `${WORDS[name] ?? name} `, el("strong", {}, duration(s * 1000)), el("span", { class: "weak" }, ` ${decimal((100 * s) / all)} %`))),
    );
  }

  #drawFailures(events) {
    const failed = events.filter(({ type }) => type === "job_requeued" || type === "job_failed_permanently").slice(-FAILURES).reverse();
    if (!failed.length) return void fill(this.failures, el("p", { class: "weak" }, "None in this day."));
    const now = this.#store.now();
    fill(
      this.failures,
      el(
        "ul",
        { class: "plain-list failures-list" },
        failed.map((event) =>
          el(
            "li",
            {},
            el("time", { class: "weak", datetime: event.time, title: exactly(event.time) }, when(event.time, now)),
            " ",
            el("a", { href: link({ view: "job", id: event.job_id }), title: event.job_id }, shortId(event.job_id)),
            ` ${endOf(event).why}`,
          ),
        ),
      ),
    );
  }

  #tell(step) {
    const band = this.#bands[step];
    if (!band) return;
    const now = this.#store.now();
    const codec = this.#codecs.get(band.job);
    const what = band.state === "working" ? `working${codec ? ` (${codec})` : ""} on job ${band.job}` : WORDS[band.state];
    const text = `${when(band.from, now)} to ${when(band.to, now)}, ${duration(band.to - band.from)}: ${what}`;
    setText(this.told, text);
    set(this.band, "aria-valuenow", step);
    set(this.band, "aria-valuetext", text);
  }

  #onBandKey(event) {
    const at = this.#step ?? this.#bands.length - 1;
    const to = { ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1, Home: 0, End: this.#bands.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#step = Math.min(Math.max(to, 0), this.#bands.length - 1);
    this.#tell(this.#step);
  }

  #hover(event) {
    const box = this.band.getBoundingClientRect();
    const [first, last] = [this.#bands[0], this.#bands.at(-1)];
    if (!first) return;
    const time = first.from + ((event.clientX - box.left) / box.width) * (last.to - first.from);
    const step = this.#bands.findIndex((band) => time >= band.from && time < band.to);
    if (step >= 0) this.#tell((this.#step = step));
  }
}

function told(value) {
  if (value === null || value === undefined) return null;
  if (Array.isArray(value)) return value.length ? value.map((it) => (typeof it === "string" ? it : JSON.stringify(it))).join(", ") : null;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") return String(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** How an engine's speed is to the farm's: by MB where both are known, else by job. */
function compared(speed, farm) {
  const byMb = speed.seconds_per_mb && farm.seconds_per_mb;
  const ratio = byMb ? farm.seconds_per_mb / speed.seconds_per_mb : farm.seconds / speed.seconds;
  if (!Number.isFinite(ratio) || ratio <= 0) return "";
  if (ratio > 0.95 && ratio < 1.05) return "as fast";
  return ratio > 1 ? `${decimal(ratio)}× as fast` : `takes ${decimal(1 / ratio)}× as long`;
}

/** One of a few tints for a codec; its name stands beside it. */
function codecClass(codec) {
  const known = ["h264", "hevc", "av1", "vp9", "vp8", "mpeg4"];
  return known.includes(codec) ? codec : "other";
}

customElements.define("board-engine", BoardEngine);

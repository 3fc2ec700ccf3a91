/**
 * The farm at a glance: whether it is well, what runs, what waits, what failed and what is done.
 */

import { cancelJobs, retryJobs } from "./actions.js";
import { href, link } from "./address.js";
import {
  agoColumn,
  attemptColumn,
  codecColumn,
  engineColumn,
  leftColumn,
  nameColumn,
  speedColumn,
} from "./columns.js";
import { JobList } from "./job_list.js";
import { el, fill, set, setText } from "./dom.js";
import { Forecast } from "./forecast.js";
import { barColumn } from "./progress.js";
import { ENGINE_STATES, engineMark, engineState, shape } from "./states.js";
import { textColumn } from "./table.js";
import "./trends.js";
import { engineReason, showWhy } from "./why.js";
import * as words from "./words.js";

const RUNNING_SHOWN = 16;
const OTHERS_SHOWN = 8;
const SICK_SHOWN = 3;
const RUNNING_ON_A_WALL = 40;
const CHARTS_MS = 1_000;
const DAY_MS = 86_400_000;

class BoardFarm extends HTMLElement {
  #store = null;
  #lists = [];
  #ends = [];
  #forecast = null;
  #charts = null;
  #isSorted = false;
  #statuses = new Map(); // of the jobs that have changed, as they were when the lists were made

  show(address, store) {
    if (this.#store === null) this.#make(store, address);
    this.#charts.show?.(address, store);
    this.update({ jobs: new Set(), engines: new Set(), all: true });
  }

  update(change) {
    const store = this.#store;
    this.#forecast.refresh();
    this.#drawCharts(change);
    const hasNothing = store.state.jobs.size === 0 && store.state.engines.size === 0;
    const isKnown = !store.loading && store.fault === null && store.lostSince === null;
    const hasNotBegun = hasNothing && isKnown && store.state.seq === 0;
    this.begin.hidden = !hasNotBegun || store.moment !== null;
    this.before.hidden = !hasNotBegun || store.moment === null;
    this.wait.hidden = !(hasNothing && store.loading);
    this.body.hidden = hasNothing && (!isKnown || store.state.seq === 0);
    if (this.body.hidden) return;
    if (change.all) this.#statuses.clear();
    if (change.all || this.#moved(change.jobs)) this.#isSorted = false;
    if (!this.#isSorted) this.#sort();
    this.#drawTotals(change);
    for (const list of this.#lists) list.draw(change);
  }

  disconnectedCallback() {
    for (const end of this.#ends) end();
    clearTimeout(this.#chartsTimer);
    this.#forecast?.stop();
  }

  onKey(event) {
    const list =
      this.#lists.find(({ element }) => element.contains(document.activeElement)) ??
      this.#lists.find(({ isEmpty }) => !isEmpty);
    const job = list?.focused;
    if (job !== undefined && this.#store.may("client") && ["c", "r"].includes(event.key)) {
      if (event.key === "c") cancelJobs(this.#store, [job]);
      else retryJobs(this.#store, [job]);
      return true;
    }
    return list?.onKey(event) ?? false;
  }

  #make(store, address) {
    this.#store = store;
    this.#forecast = new Forecast(store, () => {
      this.#isSorted = false;
      this.update({ jobs: new Set(), engines: new Set(), all: false });
    });
    const isWall = address.filters.has("wall");
    const expected = (id) => this.#forecast.expectedAt(id);
    const running = new JobList(store, {
      title: "Running",
      empty: "Nothing runs.",
      most: isWall ? RUNNING_ON_A_WALL : RUNNING_SHOWN,
      filters: { status: "assigned" },
      columns: [
        nameColumn("minmax(9rem, 2.5fr)"),
        codecColumn(),
        engineColumn("minmax(5rem, 1fr)"),
        barColumn("minmax(7rem, 2fr)", (job) => (job.status === "assigned" ? job : null)),
        speedColumn(store),
        leftColumn(store, expected),
        attemptColumn(),
      ],
    });
    const waiting = new JobList(store, {
      title: "Waiting",
      empty: "Nothing waits.",
      most: OTHERS_SHOWN,
      filters: { status: "pending" },
      columns: [
        textColumn("place", "", "2.5rem", (job) => this.#placeOf(job), "end weak"),
        nameColumn("minmax(6rem, 1fr)"),
        codecColumn("3.5rem"),
        textColumn("start", "Start", "6rem", (job) => this.#startOf(job), "end weak"),
      ],
    });
    const failed = new JobList(store, {
      title: "Failed today",
      empty: "Nothing failed today.",
      most: OTHERS_SHOWN,
      filters: { status: "failed_permanently" },
      columns: [
        nameColumn("minmax(5rem, 1fr)"),
        textColumn("error", "Error", "minmax(5rem, 1.4fr)", (job) => [oneLine(job.error_message), job.error_message], "tone-blocked tinted"),
        agoColumn(store, "ended", "Ended", (job) => job.finished_at, "5rem"),
      ],
    });
    const done = new JobList(store, {
      title: "Done today",
      empty: "Nothing is done yet today.",
      most: OTHERS_SHOWN,
      filters: { status: "completed" },
      columns: [
        nameColumn("minmax(6rem, 1fr)"),
        codecColumn("3.5rem"),
        textColumn("took", "Took", "4.5rem", (job) => tookOf(job), "end"),
        agoColumn(store, "ended", "Ended", (job) => job.finished_at, "5rem"),
      ],
    });
    this.#lists = [running, waiting, failed, done];
    this.#charts = document.createElement("board-charts");
    this.totals = this.#makeTotals();
    this.begin = beginning();
    this.before = el("p", { class: "waiting", hidden: true }, "Nothing had happened yet: the log begins later. ", el("a", { href: href({ moment: "1" }) }, "To its first event"));
    this.wait = el("p", { class: "waiting" }, "Loading the farm.");
    this.body = el(
      "div",
      { class: "farm" },
      this.totals,
      this.#charts,
      running.element,
      el("div", { class: "thirds" }, waiting.element, failed.element, done.element),
    );
    fill(this, el("h1", { class: "visually-hidden" }, "Farm"), this.begin, this.before, this.wait, this.body);
    this.#ends = this.#lists.map((list) => list.connect());
    this.#ends.push(showWhy(this, store));
  }

  #makeTotals() {
    this.states = Object.keys(ENGINE_STATES).map((state) => {
      const number = el("strong", { class: "number" });
      const node = el("a", { class: `total mark tone-${state}` }, shape(state), number, el("span", {}, ENGINE_STATES[state].word));
      return { state, node, number };
    });
    this.queue = el("p", { class: "queue" });
    this.oldest = el("a", { class: "oldest" });
    this.sick = el("ul", { class: "sick", "aria-label": "Engines that need attention" });
    return el(
      "section",
      { class: "totals panel", "aria-label": "Totals" },
      el("p", { class: "engines" }, this.states.map(({ node }) => node)),
      this.queue,
      this.oldest,
      this.sick,
    );
  }

  /** Names the engines that are blocked or silent, and why: those that changed last, first. */
  #drawSick() {
    const store = this.#store;
    const order = ["blocked", "silent"];
    const sick = [...store.state.engines.values()].filter((engine) => order.includes(engineState(engine)));
    sick.sort((a, b) => order.indexOf(engineState(a)) - order.indexOf(engineState(b)) || compare(b.last_seen ?? "", a.last_seen ?? ""));
    const told = sick.slice(0, SICK_SHOWN).map((engine) => [engine.engine_id, engineState(engine), engineReason(engine, store)]);
    const key = JSON.stringify([told, sick.length]);
    if (this.sick.dataset.key === key) return;
    this.sick.dataset.key = key;
    const more = sick.length - told.length;
    this.sick.hidden = sick.length === 0;
    fill(
      this.sick,
      told.map(([id, state, reason]) => el("li", {}, engineMark(state), " ", el("a", { href: link({ view: "engine", id }) }, id), el("span", { class: "cut", title: reason }, words.sentence(reason)))),
      more > 0 ? el("li", { class: "weak" }, el("a", { href: link({ view: "engines" }) }, `and ${words.number(more)} more`)) : null,
    );
  }

  /** Draws the charts once a second at most: a step of theirs is at least a minute. */
  #drawCharts(change) {
    const due = this.#chartsDrawn + CHARTS_MS - performance.now();
    if (change.all || due <= 0) {
      clearTimeout(this.#chartsTimer);
      this.#chartsTimer = null;
      this.#chartsDrawn = performance.now();
      this.#charts.update?.(change);
    } else {
      this.#chartsTimer ??= setTimeout(() => this.#drawCharts({ ...change, all: true }), due);
    }
  }

  #chartsDrawn = -Infinity;
  #chartsTimer = null;

  /** Whether a job changed its list, not only its progress. */
  #moved(ids) {
    let moved = false;
    for (const id of ids) {
      const job = this.#store.state.jobs.get(id);
      const told = job && `${job.status} ${job.priority} ${job.attempt}`;
      if (this.#statuses.get(id) === told) continue;
      this.#statuses.set(id, told);
      moved = true;
    }
    return moved;
  }

  #drawTotals(change) {
    const { state } = this.#store;
    if (change.all || change.engines.size > 0) {
      const counts = Object.fromEntries(Object.keys(ENGINE_STATES).map((name) => [name, 0]));
      for (const engine of state.engines.values()) counts[engineState(engine)] += 1;
      for (const { state: name, node, number } of this.states) {
        setText(number, words.number(counts[name]));
        set(node, "href", link({ view: "engines", filters: { state: name } }));
        node.hidden = counts[name] === 0 && name === "draining";
        node.toggleAttribute("data-none", counts[name] === 0);
      }
    }
    this.#drawSick();
    this.#drawQueue();
  }

  #drawQueue() {
    const { state } = this.#store;
    const now = this.#store.now();
    const foretold = this.#forecast.now;
    const parts = [`${words.number(state.counts.pending)} waiting`];
    const least = foretold?.unknown ? "at least " : "";
    if (foretold?.work_s) parts.push(`${least}${words.roughly(foretold.work_s * 1000)} of work`);
    if (foretold?.done_at) parts.push(`done ≈ ${words.when(foretold.done_at, now)}`);
    if (foretold?.unknown) parts.push(`${words.number(foretold.unknown)} of unknown length`);
    if (foretold?.unplaced) parts.push(`${words.number(foretold.unplaced)} that no engine takes now`);
    setText(this.queue, parts.join(" · "));
    set(this.queue, "title", foretold?.how ?? null);
    const oldest = this.#oldest ?? null;
    this.oldest.hidden = oldest === null;
    if (oldest === null) return;
    setText(this.oldest, `oldest waits ${words.duration(now - words.millis(oldest.submitted_at))}`);
    set(this.oldest, "href", link({ view: "job", id: oldest.job_id }));
    set(this.oldest, "title", oldest.source_url);
  }

  #oldest = null;

  /** Finds the first jobs of each list. It looks at every job once, and sorts none but these. */
  #sort() {
    this.#isSorted = true;
    const { state } = this.#store;
    const now = this.#store.now();
    const today = new Date(Math.max(new Date(now).setHours(0, 0, 0, 0), now - DAY_MS)).toISOString();
    const foretold = this.#forecast.now?.waiting ?? [];
    this.#places = new Map(foretold.map((job) => [job.job_id, job]));
    const place = (job) => this.#places.get(job.job_id)?.place ?? Infinity;
    const [running, waiting, failed, done] = this.#lists;
    const firsts = {
      assigned: new Firsts(running.most, by("assigned_at")),
      pending: new Firsts(waiting.most, (a, b) => compare(place(a), place(b)) || b.priority - a.priority || byAge(a, b)),
      failed_permanently: new Firsts(failed.most, by("finished_at", -1)),
      completed: new Firsts(done.most, by("finished_at", -1)),
    };
    this.#oldest = null;
    const isWhole = new Set(); // statuses of which jobs from before today are in memory
    for (const job of state.jobs.values()) {
      if (job.finished_at !== null && job.finished_at < today) {
        isWhole.add(job.status);
        continue;
      }
      if (job.parent !== undefined && job.status !== "assigned") continue; // a film stands for its parts
      firsts[job.status]?.add(job);
      if (job.status === "pending" && !(this.#oldest?.submitted_at <= job.submitted_at)) this.#oldest = job;
    }
    Object.entries(firsts).forEach(([status, { items, count }], at) => {
      const isAll = isWhole.has(status) || !this.#store.isPartial(status);
      this.#lists[at].take(items, count, { isAll });
    });
  }

  #places = new Map();

  #placeOf(job) {
    return words.number(this.#places.get(job.job_id)?.place ?? NaN);
  }

  #startOf(job) {
    if (job.not_before) return ["pauses", `after a failure, until ${words.when(job.not_before, this.#store.now(), { seconds: true })}`];
    const start = this.#places.get(job.job_id)?.expected_start;
    return start ? [`≈ ${words.when(start, this.#store.now())}`, this.#places.get(job.job_id).how] : "";
  }
}

/** The first of many by an order, and how many there were. */
class Firsts {
  items = [];
  count = 0;

  constructor(most, order) {
    this.most = most;
    this.order = order;
  }

  add(item) {
    this.count += 1;
    const { items, most, order } = this;
    if (items.length === most && order(items[most - 1], item) <= 0) return;
    let at = items.length;
    while (at > 0 && order(items[at - 1], item) > 0) at -= 1;
    items.splice(at, 0, item);
    if (items.length > most) items.pop();
  }
}

const compare = (a, b) => (a === b ? 0 : a < b ? -1 : 1);
const by = (field, sign = 1) => (a, b) => sign * compare(a[field] ?? "", b[field] ?? "");
const byAge = by("submitted_at");

function tookOf(job) {
  const took = words.millis(job.finished_at) - words.millis(job.assigned_at);
  return Number.isNaN(took) ? "" : words.roughly(took);
}

function oneLine(text) {
  return (text ?? "").split("\n", 1)[0];
}

/** What an empty farm shows: the two commands to start. */
function beginning() {
  return el(
    "section",
    { class: "beginning panel", hidden: true },
    el("h2", { class: "title" }, "This farm is empty."),
    el("p", {}, "Start an engine on any machine that reaches this dispatcher:"),
    el("pre", {}, el("code", {}, `dispatcher engine --server ${window.location.origin}`)),
    el("p", {}, "Then submit a film, here or from a shell:"),
    el("pre", {}, el("code", {}, `dispatcher submit FILM.mp4 --codec h264 --server ${window.location.origin}`)),
    el("p", { class: "weak" }, "Both appear here when they happen; there is nothing to reload."),
  );
}

customElements.define("board-farm", BoardFarm);

/**
 * One job: what became of it in words, its attempts to scale, what went in and came out, its events.
 *
 * Laws:
 * - All of it follows from the job's own events up to the seq that is shown. So it is the same live,
 *   in the past and while the past is played, and a moment costs no request.
 * - What asks the dispatcher otherwise is only `why`, and when its engines were heard.
 */

import { can, cancelJobs, prioritizeJobs, retryJobs } from "./actions.js";
import { link } from "./address.js";
import { path, query } from "./api.js";
import { el, fill, outside, set, setText, visible } from "./dom.js";
import { Events } from "./events.js";
import { applyToJobs, emptyState } from "./fold.js";
import { Lanes } from "./lanes.js";
import { PartsStrip } from "./parts_strip.js";
import { FINAL, jobMark } from "./states.js";
import { headline, plain } from "./telling.js";
import { sentenceOf } from "./sentences.js";
import { timelineOf, withEngine } from "./timeline.js";
import { decimal, duration, exactly, fileName, jobName, partName, sentence, size, when } from "./words.js";

const WHY_AGAIN_MS = 4_500;
/** As many events of an engine as are asked for, to show when it was heard during an attempt. */
const HEARD = 1_000;
/** As many of the newest attempts as are asked about. */
const ASKED_ABOUT = 8;

export class BoardJob extends HTMLElement {
  #store = null;
  #id = null;
  #events = null;
  #heard = new Map(); // attempt → events of its engine
  #why = null;
  #whyFor = "";
  #whyAt = 0;
  #drawnFor = "";

  show({ id }, store) {
    this.#store = store;
    if (id !== this.#id) this.#begin(id);
    this.#draw();
  }

  update(change) {
    if (change.all) this.#events?.catchUp();
    const concerns = change.jobs.has(this.#id) || this.parts.concerns(change.jobs);
    if (change.all || change.tick || concerns) this.#draw();
  }

  disconnectedCallback() {
    this.#events?.stop();
    this.lanes?.disconnect();
    this.#id = null;
  }

  #begin(id) {
    this.#events?.stop();
    this.lanes?.disconnect();
    this.#id = id;
    this.#heard.clear();
    this.#why = null;
    this.#whyFor = this.#drawnFor = "";
    this.#events = new Events(this.#store, { job: id }, () => this.#draw());
    this.lanes = new Lanes((engine) => el("a", { href: link({ view: "engine", id: engine }) }, engine));
    const made = (tag, name) => (this[name] = el(tag, { class: name }));
    fill(
      this,
      el("header", { class: "page-head" }, made("p", "crumb"), (this.headline = el("h1", { class: "headline", tabindex: -1 })), made("p", "reason"), made("div", "actions")),
      made("div", "obstacles"),
      (this.parts = new PartsStrip(this.#store, () => this.#draw())).node,
      (this.body = el(
        "div",
        {},
        el("section", { "aria-label": "Timeline" }, this.lanes.node),
        made("section", "inout"),
        el("section", { "aria-labelledby": "events-title" }, el("h2", { id: "events-title" }, "Events"), this.#events.node),
      )),
    );
    this.#events.start();
  }

  #draw() {
    const { state, moment } = this.#store;
    const { list, fault } = this.#events;
    if (fault) return this.#drawFault(fault);
    if (list === null) return;
    const shown = moment === null ? list : list.filter(({ seq }) => seq <= state.seq);
    const job = jobOf(this.#id, shown);
    set(this.body, "hidden", job === undefined);
    if (job === undefined) return this.#drawNothing(list);
    const now = this.#store.now();
    this.#askWhy(job, state.seq);
    this.#drawHead(job);
    this.parts.show(job);
    this.#drawTimeline(shown, now);
    const after = (job.after ?? []).map((id) => state.jobs.get(id) ?? { job_id: id });
    const key = JSON.stringify([{ ...job, progress: null }, after.map(({ status }) => status)]);
    if (key !== this.#drawnFor) {
      this.#drawnFor = key;
      fill(this.inout, inOut(job, now, after));
    }
    this.#drawActions(job);
    this.#events.draw(shown, now);
  }

  #drawFault(fault) {
    set(this.body, "hidden", true);
    setText(this.headline, "This job can't be shown");
    setText(this.reason, fault.text ?? fault.message);
  }

  #drawNothing(list) {
    fill(this.crumb);
    fill(this.actions);
    delete this.actions.dataset.key;
    delete this.headline.dataset.key;
    setText(this.headline, list.length ? "This job had not been submitted yet" : "There is no such job");
    setText(this.reason, list.length ? `It was, at ${when(list[0].time, Date.now())}.` : `No event of this log speaks of job ${this.#id}.`);
    this.#drawnFor = "";
  }

  #drawHead(job) {
    const parts = headline(job);
    const key = JSON.stringify([parts, job.status]);
    if (this.headline.dataset.key !== key) {
      this.headline.dataset.key = key;
      fill(this.crumb, jobMark(job.status), " ", ...this.#nameOf(job), el("span", { class: "weak mono", title: job.job_id }, ` ${job.job_id}`));
      fill(this.headline, sentenceOf(parts, { jobs: false }));
      document.title = visible(`${plain(parts)} – ${jobName(job)}`);
    }
    const because = this.#why?.because;
    setText(this.reason, because && !FINAL.has(job.status) ? sentence(because) : this.#ended(job));
    this.#drawObstacles(job);
  }

  /** The name of its source; that of a part leads to the film. */
  #nameOf(job) {
    if (job.parent === undefined) return [jobName(job)];
    return [`${partName(job)} of `, el("a", { href: link({ view: "job", id: job.parent }), title: job.parent }, fileName(job.source_url))];
  }

  /** The sentence below the headline of a job that has ended, or of which `why` is not there yet. */
  #ended(job) {
    if (!FINAL.has(job.status)) return "";
    const took = Date.parse(job.finished_at) - Date.parse(job.submitted_at);
    const at = when(job.finished_at, this.#store.now());
    return `It ended ${at}, ${duration(took)} after it was submitted.`;
  }

  #drawObstacles(job) {
    const engines = job.status === "pending" ? (this.#why?.engines ?? []) : [];
    const key = JSON.stringify(engines);
    if (this.obstacles.dataset.key === key) return;
    this.obstacles.dataset.key = key;
    const isOpen = this.obstacles.querySelector("details")?.open ?? engines.length <= 12;
    fill(
      this.obstacles,
      engines.length > 0 &&
        el(
          "details",
          { open: isOpen },
          el("summary", {}, "What stands in the way of each engine"),
          el(
            "ul",
            { class: "plain-list" },
            alike(engines).map(([because, ids]) =>
              el("li", {}, ids.map((id, at) => [at ? ", " : "", el("a", { href: link({ view: "engine", id }) }, id)]), `: ${because}`),
            ),
          ),
        ),
    );
  }

  #drawTimeline(shown, now) {
    const timeline = timelineOf(shown, now);
    for (const lane of timeline.lanes.slice(-ASKED_ABOUT)) this.#askHeard(lane);
    const upto = this.#store.moment === null ? Infinity : this.#store.state.seq;
    timeline.lanes = timeline.lanes.map((lane) => {
      const heard = this.#heard.get(`${lane.fromSeq}-${lane.toSeq}`) ?? [];
      return withEngine(lane, heard.filter(({ seq }) => seq <= upto));
    });
    this.lanes.show(timeline, now);
  }

  /** Ask when the engine of an attempt was heard, once for each attempt and once more at its end. */
  async #askHeard({ engine, fromSeq, toSeq, end }) {
    const key = `${fromSeq}-${toSeq}`;
    if (this.#heard.has(key) || engine === null) return;
    this.#heard.set(key, []);
    const events = this.#events;
    const asked = [{ engine, after: fromSeq, limit: HEARD }];
    if (end === "lost") asked.push({ engine, type: "engine_lost", after: Math.max(toSeq - 8, 0), limit: 2 });
    try {
      const lists = await Promise.all(asked.map((given) => this.#store.api.get(query("/events", given))));
      if (events !== this.#events) return;
      const bySeq = new Map(lists.flat().map((event) => [event.seq, event]));
      this.#heard.set(key, [...bySeq.values()].sort((one, other) => one.seq - other.seq));
      this.#draw();
    } catch {
      this.#heard.delete(key); // it is asked again with the next change; the timeline does without
    }
  }

  /** Ask why, when the job has changed; while it waits also when the queue may have. */
  async #askWhy(job, seq) {
    if (document.hidden) return;
    const { moment, round, api } = this.#store;
    const key = JSON.stringify([job.status, job.attempt, job.not_before, job.priority, round]);
    const isStale = job.status === "pending" && moment === null && Date.now() - this.#whyAt > WHY_AGAIN_MS;
    if (key === this.#whyFor && !isStale) return;
    if (key !== this.#whyFor) this.#why = null;
    this.#whyFor = key;
    this.#whyAt = Date.now();
    const asOf = moment === null ? null : seq;
    try {
      const why = await api.get(query(path`/jobs/${job.job_id}/why`, { as_of: asOf }));
      if (key !== this.#whyFor) return;
      this.#why = why;
      this.#drawHead(job);
    } catch {
      // The headline says what is known without it.
    }
  }

  #drawActions(job) {
    const may = this.#store.may("client");
    const key = JSON.stringify([may, job.status, job.priority]);
    if (this.actions.dataset.key === key) return;
    this.actions.dataset.key = key;
    const hadFocus = this.actions.contains(document.activeElement);
    const button = (text, act, kind = "") => el("button", { type: "button", class: `button ${kind}`, onclick: act }, text);
    fill(
      this.actions,
      may && can.retry(job) && button("Retry", () => retryJobs(this.#store, [this.#job()])),
      may && can.priority(job) && this.#priority(job),
      may && can.cancel(job) && button("Cancel", () => cancelJobs(this.#store, [this.#job()]), "danger"),
    );
    if (hadFocus) (this.actions.querySelector("button") ?? this.headline).focus();
  }

  #priority(job) {
    const input = el("input", { type: "number", id: "job-priority", min: 0, max: 100, step: 1, required: true, value: String(job.priority ?? 0) });
    const give = (event) => {
      event.preventDefault();
      prioritizeJobs(this.#store, [this.#job()], Number(input.value));
    };
    return el(
      "form",
      { class: "inline-form", onsubmit: give },
      el("label", { for: "job-priority" }, "Priority"),
      input,
      el("button", { type: "submit", class: "button" }, "Set"),
    );
  }

  #job() {
    return jobOf(this.#id, this.#events?.list ?? []);
  }

  /** The keys of a job's page: c cancels, r retries. */
  onKey({ key }) {
    const act = { c: cancelJobs, r: retryJobs }[key];
    const job = act && this.#job();
    if (job === undefined || !this.#store.may("client")) return false;
    act(this.#store, [job]);
    return true;
  }
}

/** A job as it is after some of its events, from the first on; undefined before it was submitted. */
export function jobOf(id, events) {
  const state = emptyState();
  for (const event of events) applyToJobs(state, event, undefined);
  return state.jobs.get(id);
}

function inOut(job, now, after) {
  const { result = {}, recipe } = job;
  const { source = {}, output = {} } = result;
  const given = source?.size_bytes ? bytes(source.size_bytes) : job.job_size ? size(job.job_size) : null;
  const share = source?.size_bytes && output?.size_bytes ? ` (${decimal((100 * output.size_bytes) / source.size_bytes)} % of the source)` : "";
  return [
    part("In", [
      ["Source", outside(job.source_url)],
      ["Size", given],
      ["Length", lengthOf(source)],
      ["Submitted", el("time", { datetime: job.submitted_at, title: exactly(job.submitted_at) }, when(job.submitted_at, now, { seconds: true }))],
      [job.status === "pending" ? "Waits for" : "Waited for", jobsOf(after)],
      ["In one piece", job.whole],
      ["Codec wanted", job.target_codec],
      ["Recipe", recipeOf(recipe)],
      ["Output name", job.output_name],
      ["Tags", job.tags?.join(", ")],
      ["Priority", job.priority ? String(job.priority) : null],
      ["Retries", `${job.retries} of ${job.max_retries} used`],
    ]),
    part("Out", [
      ["Output", job.output_url === null ? el("span", { class: "weak" }, FINAL.has(job.status) ? "none" : "none yet") : outside(job.output_url)],
      ["Size", output?.size_bytes ? bytes(output.size_bytes) + share : null],
      ["Length", lengthOf(output)],
      ["VMAF", typeof result.vmaf === "number" ? decimal(result.vmaf) : null],
      ["Encoder", result.encoder],
      ["CRF", typeof result.crf === "number" ? String(result.crf) : null],
      ["Speed", typeof result.speed === "number" ? `${decimal(result.speed)}×` : null],
      ["Kept", listOf(result.kept)],
      ["Left out", listOf(result.left_out)],
      ["Warnings", listOf(result.warnings)],
      ["Last error", job.error_message ? el("pre", { class: "error-text", tabindex: 0 }, job.error_message) : null],
    ]),
  ];
}

function part(title, facts) {
  return el("div", {}, el("h2", {}, title), factsOf(facts));
}

/** A list of facts, without those of which nothing is known. */
export function factsOf(facts) {
  return el(
    "dl",
    { class: "facts" },
    facts
      .filter(([, value]) => value !== null && value !== undefined && value !== "")
      .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
  );
}

const bytes = (count) => (count < 1e6 ? `${decimal(count / 1000)} kB` : size(count / 1e6));

const lengthOf = (extent) => (typeof extent?.length_s === "number" ? duration(extent.length_s * 1000) : null);

function listOf(texts) {
  if (!Array.isArray(texts) || !texts.length) return null;
  return el("ul", { class: "plain-list" }, texts.map((text) => el("li", {}, String(text))));
}

/** Engines with the same obstacle, together: `[obstacle, ids]`, in the order in which they come. */
function alike(engines) {
  const ids = new Map();
  for (const { engine_id: id, because } of engines) {
    const why = because ?? "nothing";
    ids.set(why, [...(ids.get(why) ?? []), id]);
  }
  return [...ids];
}

/** Jobs as links, each with its state where it is known. */
function jobsOf(jobs) {
  if (jobs.length === 0) return null;
  const item = (job) => [
    el("a", { href: link({ view: "job", id: job.job_id }), title: job.job_id }, job.source_url ? jobName(job) : job.job_id),
    job.status ? [" ", jobMark(job.status)] : null,
  ];
  return el("ul", { class: "plain-list" }, jobs.map((job) => el("li", {}, item(job))));
}

function recipeOf(recipe) {
  if (!recipe) return null;
  const { name, ...fields } = recipe;
  const written = Object.entries(fields).map(([field, value]) => el("li", {}, `${field}: ${typeof value === "string" ? value : JSON.stringify(value)}`));
  return [name ? el("strong", {}, name) : "", el("ul", { class: "plain-list" }, written)];
}

customElements.define("board-job", BoardJob);

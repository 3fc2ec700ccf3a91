/**
 * The state that every view draws from, now or as of a moment, and what the board may do to it.
 *
 * Laws:
 * - Views are told of changes at most once a frame, with all that changed since the last time.
 * - The pages of a list are each of another seq. So each job has the seq at which it was loaded, and
 *   no event before that changes it; the feed begins at the oldest of these seqs. So nothing is
 *   missed and nothing is applied twice, although the farm goes on while the board loads.
 * - A job that an event speaks of and nobody has loaded, is loaded then; its events wait for it. If
 *   there are many of them, everything is loaded anew.
 * - A hidden tab follows no feed, since a browser has few connections to one dispatcher. It goes on
 *   from the same seq when it is shown.
 * - All jobs that are alive are in memory, and the finished ones that ended last: of those that failed,
 *   and of the others, so many each. `isPartial` says of which there are more.
 */

import { ApiError, path, query } from "./api.js";
import { Feed } from "./feed.js";
import { apply, applyToEngines, applyToJobs, countPart, emptyState, noChange, putEngine, putJob } from "./fold.js";
import { say } from "./notice.js";
import { refusalOf } from "./sign_in.js";
import { FINAL } from "./states.js";

const PAGE = 2_500; // jobs of a page: some tenths of a second each
const FINISHED_AT_FIRST = 500;
const FINISHED_KEPT = 5_000;
const FAR_BEHIND = 100_000; // events; from here on a new load is quicker than the feed
const MOST_AWAITED = 50; // jobs; from here on a new load is quicker than asking for each
const TICK_MS = 5_000;
const ALIVE = "pending,assigned";
/** The finished jobs, in two lists, so that many that are done do not hide the few that failed. */
const ENDED = ["completed,cancelled", "failed_permanently"];

/** The events after which a job is alive, so that it must be in memory. */
const OF_THE_LIVING = new Set([
  "job_assigned",
  "job_requeued",
  "job_released",
  "job_progressed",
  "job_retried",
  "job_reprioritized",
  "job_split",
  "job_made_whole",
]);

const endedOf = (status, asOf = null) =>
  query("/jobs/", { status, order: "newest", limit: FINISHED_AT_FIRST, as_of: asOf });

export class Store {
  state = emptyState();
  who = null;
  /** null: live; otherwise what the address asks for, as `as_of` has it. */
  moment = null;
  connected = false;
  /** When the connection was lost, in milliseconds; null while it is there. */
  lostSince = null;
  /** Whether the present state is still being loaded; what is there already can be drawn. */
  loading = true;
  /** How often the connection came back, and how often the log was found to be another one then. */
  returns = 0;
  replacements = 0;
  /** The number of the load that made the state; while the past is played, only `moment` changes. */
  round = 0;
  /** Why the state could not be loaded (`ApiError`), or null. */
  fault = null;

  #partial = new Set(); // statuses of which jobs that ended earlier are not in memory
  #subscribers = new Set();
  #listeners = new Set();
  #change = noChange();
  #frame = null;
  #feed = null;
  #jobSeqs = new Map(); // of jobs loaded at a seq that the feed has not reached
  #enginesSeq = 0;
  #awaited = new Map(); // job id → its events, until the job is loaded
  #unasked = []; // those of them that nobody has asked for yet
  #ended = []; // ids of finished jobs, those that ended first at the front

  constructor(api) {
    this.api = api;
    setInterval(() => this.#tick(), TICK_MS);
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#unfollow() : this.#resume()));
  }

  /** Tells `fn(change)` of what changes, at most once a frame; returns what ends that. */
  subscribe(fn) {
    this.#subscribers.add(fn);
    return () => this.#subscribers.delete(fn);
  }

  /** Gives `fn(events)` the events that were applied, live or played; returns what ends that. */
  listen(fn) {
    this.#listeners.add(fn);
    return () => this.#listeners.delete(fn);
  }

  /** Whether the key of this tab has a role; an operator has them all. Nobody acts in the past. */
  may(role) {
    return this.moment === null && this.who !== null && [role, "operator"].includes(this.who.role);
  }

  /** What to ask with, for the state that is shown: its seq, or null for what is true now. */
  get asOf() {
    return this.moment === null ? null : this.state.seq;
  }

  /** The time of the farm in milliseconds: now, or that of the moment shown. */
  now() {
    if (this.moment === null) return Date.now() + this.api.clockAheadMs;
    return this.state.time === null ? Date.now() : Date.parse(this.state.time);
  }

  /** Shows the farm as of a moment (`as_of`: a seq or a time), or now with null. */
  async at(moment) {
    const round = (this.round += 1);
    this.#unfollow();
    this.moment = moment;
    this.loading = true;
    this.fault = null;
    this.#all();
    try {
      const load = moment === null ? this.#loadNow(round) : this.#loadPast(round, moment);
      await Promise.all([load, this.#askWho(round)]);
      if (round === this.round && moment === null) this.#follow();
    } catch (error) {
      if (round !== this.round || error.name === "AbortError") return;
      if (!(error instanceof ApiError)) throw error;
      this.fault = error;
      if (error.status === 0) this.#lost();
      if (error.status !== 401) this.#again(round, error);
    }
    if (round === this.round) {
      this.loading = false;
      this.#all();
    }
  }

  /** Takes the key of whoever signs in, and loads everything. */
  signIn(key) {
    this.api.key = key;
    this.who = null;
    return this.at(this.moment);
  }

  /** Applies events to the state shown, as the feed does: for playing the past. */
  play(events) {
    for (const event of events) apply(this.state, event, this.#change);
    this.#tell(events);
  }

  async #loadNow(round) {
    const state = emptyState();
    this.#jobSeqs = new Map();
    this.#awaited = new Map();
    this.#unasked = [];
    const seqs = [];
    const isOld = () => round !== this.round;
    const show = () => {
      if (this.state !== state) this.state = state;
      this.#all();
    };
    const jobs = async (to, onEnd = null) => {
      for (let next = to; next !== null; ) {
        const page = await this.api.page(next);
        if (isOld()) return;
        seqs.push(page.seq);
        for (const job of page.items) this.#load(state, job, page.seq);
        next = onEnd === null ? page.next : onEnd(page);
        show();
      }
    };
    const engines = async () => {
      const page = await this.api.page("/engines/");
      if (isOld()) return;
      seqs.push((this.#enginesSeq = page.seq));
      for (const engine of page.items) putEngine(state, engine);
      show();
    };
    await Promise.all([
      engines(),
      jobs(query("/jobs/", { status: ALIVE, limit: PAGE })),
      ...ENDED.map((status) => jobs(endedOf(status), (page) => this.#noteRest(status, page))),
    ]);
    if (isOld()) return;
    this.#ended = [...state.jobs.values()]
      .filter((job) => FINAL.has(job.status))
      .sort((a, b) => (a.finished_at < b.finished_at ? -1 : 1))
      .map((job) => job.job_id);
    state.seq = Math.min(...seqs);
    state.time = new Date(this.now()).toISOString();
    this.state = state;
  }

  async #askWho(round) {
    const who = this.who ?? (await this.api.get("/key"));
    if (round !== this.round) return;
    this.who = who;
    const refusal = refusalOf(who);
    if (refusal !== null) throw new ApiError(403, `${refusal} Sign out, and sign in with one.`);
  }

  async #loadPast(round, moment) {
    const { items, seq } = await this.api.page(query("/engines/", { as_of: moment }));
    const state = emptyState();
    for (const engine of items) putEngine(state, engine);
    state.seq = seq;
    state.time = await this.#timeOf(seq, moment);
    const asked = [
      query("/jobs/", { status: ALIVE, limit: PAGE, as_of: seq }),
    ];
    for (let next = asked.shift(); next; next = asked.shift()) {
      const page = await this.api.page(next);
      if (round !== this.round) return;
      for (const job of page.items) putJob(state, job);
      if (page.next !== null) asked.unshift(page.next);
    }
    for (const status of ENDED) {
      const page = await this.api.page(endedOf(status, seq));
      if (round !== this.round) return;
      for (const job of page.items) putJob(state, job);
      this.#noteRest(status, page);
    }
    if (round !== this.round) return;
    this.state = state;
    this.#enginesSeq = seq;
    this.#jobSeqs = new Map();
  }

  async #timeOf(seq, moment) {
    if (!/^\d+$/.test(moment)) return new Date(moment).toISOString();
    if (seq === 0) return null;
    const [event] = await this.api.get(query("/events", { after: seq - 1, limit: 1 }));
    return event?.time ?? null;
  }

  /** Whether jobs that ended so are in memory only in part: those that ended last. */
  isPartial(status) {
    return this.#partial.has(status);
  }

  /** Notes whether a list of finished jobs has more than its first page, which is all that is loaded. */
  #noteRest(statuses, { next }) {
    for (const status of statuses.split(",")) {
      if (next === null) this.#partial.delete(status);
      else this.#partial.add(status);
    }
    return null;
  }

  /** Takes a job as it was at a seq, unless a newer one is there. */
  #load(state, job, seq) {
    if ((this.#jobSeqs.get(job.job_id) ?? -1) >= seq) return;
    this.#jobSeqs.set(job.job_id, seq);
    putJob(state, job, this.#change);
  }

  #unfollow() {
    this.#feed?.stop();
    this.#feed = null;
  }

  /** Goes on, when the tab is shown again. */
  async #resume() {
    this.#tick();
    if (this.#feed !== null || this.loading || this.moment !== null) return;
    if (this.fault !== null) return void ([401, 403].includes(this.fault.status) || this.at(null));
    this.#follow();
    await this.#hurry();
  }

  #follow() {
    if (document.hidden) return;
    const feed = new Feed(this.api, this.state.seq, {
      events: (events) => feed === this.#feed && this.#take(events),
      connected: () => feed === this.#feed && this.#connected(),
      lost: (error) => feed === this.#feed && this.#lost(error),
      beyond: () => feed === this.#feed && this.#replaced(),
      broken: () => feed === this.#feed && this.at(null),
    });
    this.#feed = feed;
    feed.run();
  }

  async #connected() {
    const wasLost = this.lostSince !== null;
    this.connected = true;
    this.lostSince = null;
    this.fault = null;
    this.#all();
    if (!wasLost) return;
    this.returns += 1;
    await this.#hurry();
  }

  #replaced() {
    this.replacements += 1;
    this.lostSince = null; // so that its return is not counted as one more
    say("This is another log than a moment ago, and shorter. Everything was loaded anew.", { bad: true });
    this.at(null);
  }

  /** Loads everything anew, if that is quicker than the feed. */
  async #hurry() {
    const { seq } = await this.api.get("/health").catch(() => ({ seq: 0 }));
    if (seq - this.state.seq > FAR_BEHIND && this.moment === null) this.at(null);
  }

  #lost(error = null) {
    this.connected = false;
    this.lostSince ??= this.now();
    if (error instanceof ApiError && error.status !== 0) this.fault = error;
    this.#all();
  }

  #take(events) {
    for (const event of events) {
      if (event.seq <= this.state.seq) continue;
      if (event.seq > this.#enginesSeq) applyToEngines(this.state, event, this.#change);
      if (event.job_id !== undefined) this.#takeJob(event);
      this.state.seq = event.seq;
      this.state.time = event.time;
    }
    if (this.#awaited.size > MOST_AWAITED) return void this.at(null);
    for (const id of this.#unasked.splice(0)) this.#fetch(id);
    this.#evict();
    this.#tell(events);
  }

  #tell(events) {
    for (const fn of this.#listeners) fn(events);
    this.#changed();
  }

  #takeJob(event) {
    const { job_id: id, seq } = event;
    if (event.type === "job_completed") this.#countPart(event);
    if (this.#awaited.has(id)) return void this.#awaited.get(id).push(event);
    if (!this.state.jobs.has(id) && OF_THE_LIVING.has(event.type)) {
      this.#awaited.set(id, [event]);
      this.#unasked.push(id);
    } else if (seq > (this.#jobSeqs.get(id) ?? 0)) {
      this.#jobSeqs.delete(id);
      this.#applyToJob(event);
    }
  }

  /** The film may have been loaded at another seq than its part. */
  #countPart({ job_id: id, seq }) {
    const film = this.state.jobs.get(id)?.parent;
    if (film !== undefined && seq > (this.#jobSeqs.get(film) ?? 0)) countPart(this.state, film, this.#change);
  }

  #applyToJob(event) {
    applyToJobs(this.state, event, this.#change);
    const job = this.state.jobs.get(event.job_id);
    if (job?.finished_at && FINAL.has(job.status)) this.#ended.push(job.job_id);
  }

  async #fetch(id) {
    const round = this.round;
    const found = await this.api.page(path`/jobs/${id}`).catch(() => null);
    if (round !== this.round) return;
    const events = this.#awaited.get(id) ?? [];
    this.#awaited.delete(id);
    if (found === null) return;
    this.#load(this.state, found.items, found.seq);
    for (const event of events) if (event.seq > found.seq) this.#applyToJob(event);
    this.#changed();
  }

  /** Lets go of the finished jobs that ended first, when there are too many. */
  #evict() {
    if (this.#ended.length <= FINISHED_KEPT) return;
    const gone = this.#ended.splice(0, this.#ended.length - FINISHED_KEPT * 0.9);
    const kept = new Set(this.#ended); // a job that was retried may have ended twice
    for (const id of gone) {
      const job = this.state.jobs.get(id);
      if (job === undefined || !FINAL.has(job.status) || kept.has(id)) continue;
      this.state.jobs.delete(id);
      this.state.counts[job.status] -= 1;
      this.#partial.add(job.status);
      this.#change.jobs.add(id);
    }
  }

  async #again(round, { retryAfterS }) {
    await new Promise((resolve) => setTimeout(resolve, (retryAfterS ?? 3) * 1000));
    const isUseful = this.fault !== null && [0, 429, 502, 503, 504].includes(this.fault.status);
    if (round === this.round && isUseful) this.at(this.moment);
  }

  #tick() {
    if (this.#subscribers.size === 0 || document.hidden) return;
    this.#change.tick = true;
    this.#changed();
  }

  #all() {
    this.#change.all = true;
    this.#changed();
  }

  #changed() {
    this.#frame ??= requestAnimationFrame(() => {
      const change = this.#change;
      this.#change = noChange();
      this.#frame = null;
      for (const fn of this.#subscribers) fn(change);
    });
  }
}

/**
 * The log: its size and root, whether it has only grown, and what happened last.
 *
 * Laws:
 * - Verifying is done here, in the browser, by `proof.js`; the dispatcher only hands out notes and
 *   proofs.
 * - The events shown end at the seq that is shown: now, or that of the moment.
 */

import { refine } from "./address.js";
import { query } from "./api.js";
import { ask } from "./ask.js";
import { el, fill, set, setText } from "./dom.js";
import { EventTable } from "./events.js";
import { factsOf } from "./job.js";
import { proofOf, sentenceOf } from "./seal.js";
import { exactly, number, when } from "./words.js";

const PAGE = 100;
/** The first stretch of the log that is searched for events; each further one is so much longer. */
const STRETCH = 1_000;
const LONGER = 4;
/** The longest one of which all events are sent, heartbeats too. */
const LONGEST = 16_000;
/** As many stretches as are searched at once before one asks for more. */
const STRETCHES = 4;
const LISTED = 500;

export const TYPES = [
  "job_submitted", "job_assigned", "job_progressed", "job_completed", "job_requeued",
  "job_failed_permanently", "job_released", "job_cancelled", "job_retried", "job_reprioritized",
  "job_split", "job_made_whole",
  "answer_refused", "engine_reported", "engine_replaced", "engine_fenced", "engine_asked",
  "engine_seen", "engine_benchmarked", "engine_lost", "engine_blamed", "engine_blocked",
  "engine_unblocked", "engine_drained", "engine_resumed", "engine_forgotten",
];
/** What is told when nobody chose a type: heartbeats and progress would hide all else. */
const QUIET = new Set(["engine_seen", "job_progressed", "engine_reported"]);

export class BoardLog extends HTMLElement {
  #store = null;
  #events = []; // newest first
  #from = null; // events after this seq were searched
  #spare = []; // events that were found beyond a page, newest first
  #filters = null;
  #round = 0;
  #unlisten = null;
  #moment = undefined;
  #isStale = true; // what is listed is of another state than the one that is shown

  show({ filters, moment }, store) {
    this.#store = store;
    if (!this.firstChild) this.#make();
    const asked = Object.fromEntries(["type", "job", "engine"].map((name) => [name, filters.get(name) ?? ""]));
    this.#isStale ||= moment !== this.#moment || JSON.stringify(asked) !== JSON.stringify(this.#filters);
    this.#filters = asked;
    this.#moment = moment;
    this.update();
    this.#drawProof();
  }

  update() {
    if (this.#store.loading) this.#isStale = true;
    else if (this.#isStale) this.#restart();
    this.#drawSize();
  }

  disconnectedCallback() {
    this.#unlisten?.();
    this.proof?.removeEventListener("change", this.redraw);
  }

  #make() {
    this.proof = proofOf(this.#store);
    this.redraw = () => this.#drawProof();
    this.proof.addEventListener("change", this.redraw);
    this.table = new EventTable();
    fill(
      this,
      el("header", { class: "page-head" }, el("h1", {}, "The log"), (this.size = el("p", { class: "reason" }))),
      el("section", { class: "panel proof", "aria-labelledby": "proof-title" }, ...this.#proofParts()),
      el(
        "section",
        { "aria-labelledby": "events-title" },
        el("h2", { id: "events-title" }, "Events"),
        this.#filterForm(),
        this.table.node,
        (this.searched = el("p", { class: "weak" })),
        (this.older = el("button", { type: "button", class: "quiet", onclick: () => this.#search() }, "Look for older events")),
      ),
    );
    this.#unlisten = this.#store.listen((events) => this.#take(events));
  }

  #proofParts() {
    const verify = (pasted) => async (event) => {
      event.preventDefault();
      setText(pasted ? this.pastedVerdict : this.verdict, "Verifying …");
      await this.proof.verify(pasted ? this.pasted.value : null);
      this.#drawProof();
    };
    this.pasted = el("textarea", { id: "pasted", rows: 6, class: "mono", spellcheck: "false", required: true, placeholder: "transcoding-dispatcher/3f1c9a52\n1204\n0J0bRDnVxzIXXQUYuUr7w1bmoXpmiQmC1aHczXktKQY=\n\n— transcoding-dispatcher/3f1c9a52 mZ0r1…" });
    return [
      el("h2", { id: "proof-title" }, "Was the log only added to?"),
      (this.verdict = el("p", { class: "verdict", role: "status" })),
      (this.contradiction = el("div", { role: "alert" })),
      (this.facts = el("div", {})),
      el("p", {}, el("button", { type: "button", class: "button primary", onclick: verify(false) }, "Verify"), " ", (this.begin = el("button", { type: "button", class: "button", hidden: true, onclick: () => this.#begin() }, "Begin with this log")), " ", (this.accept = el("button", { type: "button", class: "button", hidden: true, onclick: () => this.#accept() }, "Take this log as the right one"))),
      el(
        "details",
        {},
        el("summary", {}, "Verify against a checkpoint that I kept"),
        el(
          "form",
          { class: "stack", onsubmit: verify(true) },
          el("label", { for: "pasted" }, "The checkpoint, a signed note"),
          this.pasted,
          el("button", { type: "submit", class: "button" }, "Verify against this checkpoint"),
          (this.pastedVerdict = el("p", { class: "verdict-of-pasted", role: "status" })),
        ),
      ),
      el(
        "details",
        {},
        el("summary", {}, "The newest checkpoint, to keep"),
        (this.note = el("pre", { class: "mono note", tabindex: 0, "aria-label": "The newest checkpoint" })),
        el("p", { class: "weak" }, "Keep it on another machine. It vouches for all events up to its size; whoever changes one of them later can’t make a log that agrees with it."),
      ),
    ];
  }

  /** Asks whether a log that is shorter than the one that was seen takes its place. */
  async #begin() {
    const { old, now } = this.proof.state.behind;
    const isMeant = await ask({
      title: "Begin with this log?",
      text: `This browser then forgets the checkpoint of ${number(old.size)} events, and verifies from the ${number(now.size)} of now on. Do it if you know why the log is shorter, such as a restored backup.`,
      act: `Begin with ${number(now.size)} events`,
    });
    if (isMeant) this.proof.begin();
  }

  /** Asks whether another log, with another key, is the right one at this address. */
  async #accept() {
    const { replaced, key } = this.proof.state;
    const isMeant = await ask({
      title: "Take this log as the right one?",
      text: `This browser then expects the log ${key.text.split("+")[0]} here, and no longer ${replaced.name}. Do it if you know who began the new log, and why.`,
      act: "Take this log",
    });
    if (isMeant) this.proof.accept();
  }

  #drawSize() {
    const { state } = this.#store;
    const past = this.#store.moment !== null;
    setText(this.size, `${number(state.seq)} events${past ? ` as of ${when(state.time, Date.now(), { seconds: true })}` : ""}.`);
  }

  #drawProof() {
    this.#drawSize();
    const { state, colour } = this.proof;
    setText(this.verdict, sentenceOf(state));
    this.verdict.className = `verdict seal-${colour}`;
    setText(this.pastedVerdict, state.pasted ? sentenceOf(state.pasted) : "");
    this.accept.hidden = !state.replaced;
    this.begin.hidden = !state.behind?.isRemembered;
    fill(this.contradiction, state.refuted ? contradictionOf(state.refuted) : null);
    const now = this.#store.now();
    const { key, now: newest, outcome, others } = state;
    fill(
      this.facts,
      factsOf([
        ["Size", newest?.size ? `${number(newest.size)} events` : null],
        ["Root", newest?.root ? el("code", { class: "whole" }, newest.root) : null],
        ["Checkpoint of", outcome ? el("time", { datetime: outcome.at, title: exactly(outcome.at) }, when(outcome.at, now, { seconds: true })) : null],
        ["The log’s key", key ? el("code", { class: "whole" }, key.text) : null],
        ["Other logs at this address", others.length ? others.map(otherLog(now)).join("; ") : null],
      ]),
    );
    setText(this.note, newest?.note ?? "");
  }

  #filterForm() {
    const choose = (name) => (event) => refine({ [name]: event.target.value.trim() });
    const option = (value, text) => el("option", { value }, text);
    this.type = el(
      "select",
      { id: "log-type", onchange: choose("type") },
      option("", "all but heartbeats and progress"),
      option("all", "all"),
      TYPES.map((type) => option(type, type.replaceAll("_", " "))),
    );
    this.job = el("input", { id: "log-job", type: "text", onchange: choose("job"), autocomplete: "off", spellcheck: "false" });
    this.engine = el("input", { id: "log-engine", type: "text", onchange: choose("engine"), autocomplete: "off", spellcheck: "false" });
    const field = (label, input) => el("div", { class: "field" }, el("label", { for: input.id }, label), input);
    return el(
      "form",
      { class: "filters", "aria-label": "Which events", onsubmit: (event) => event.preventDefault() },
      field("What happened", this.type),
      field("Job", this.job),
      field("Engine", this.engine),
    );
  }

  #restart() {
    const { type, job, engine } = this.#filters;
    this.type.value = type;
    this.job.value = job;
    this.engine.value = engine;
    this.#round += 1;
    this.#isStale = false;
    this.#events = [];
    this.#spare = [];
    this.#from = this.#store.state.seq || null;
    this.#draw();
    if (this.#from !== null) this.#search();
  }

  /** Search backwards, in stretches that grow, until there is a page of events. */
  async #search() {
    const round = this.#round;
    const { type, job, engine } = this.#filters;
    const found = [...this.#spare].reverse();
    const isNarrow = Boolean(job || engine || (type && type !== "all"));
    let stretch = STRETCH;
    set(this.older, "disabled", true);
    try {
      for (let turn = 0; (isNarrow || turn < STRETCHES) && this.#from > 0 && found.length < PAGE; turn += 1) {
        const after = Math.max(this.#from - stretch, 0);
        const part = await this.#between(after, this.#from, { job, engine, type: type === "all" ? null : type });
        if (round !== this.#round) return;
        found.unshift(...part.filter((event) => this.#isWanted(event)));
        this.#from = after;
        stretch = Math.min(stretch * LONGER, isNarrow ? Infinity : LONGEST);
      }
      found.reverse();
      this.#spare = found.splice(PAGE);
      this.#events.push(...found);
      this.#draw();
    } catch (error) {
      if (round === this.#round) setText(this.searched, error.text ?? error.message);
    } finally {
      if (round === this.#round) set(this.older, "disabled", false);
    }
  }

  async #between(after, upto, filters) {
    const found = [];
    for (let next = query("/events", { ...filters, after, limit: Math.min(upto - after, 10_000) }); next !== null; ) {
      const page = await this.#store.api.page(next);
      found.push(...page.items.filter(({ seq }) => seq <= upto));
      next = page.items.length === 0 || page.items.at(-1).seq >= upto ? null : page.next;
    }
    return found;
  }

  #isWanted(event) {
    const { type, job, engine } = this.#filters;
    if (type === "" ? QUIET.has(event.type) : type !== "all" && event.type !== type) return false;
    return (job === "" || event.job_id === job) && (engine === "" || event.engine_id === engine);
  }

  /** New events, live or played. */
  #take(events) {
    if (this.#isStale) return;
    const newest = this.#events[0]?.seq ?? 0;
    const wanted = events.filter((event) => event.seq > newest && this.#isWanted(event));
    if (!wanted.length) return;
    this.#events = [...wanted.reverse(), ...this.#events];
    if (this.#events.length > LISTED) this.#dropOldest();
    this.#draw();
  }

  /** Keep the newest of the events; those that go are found again by a search for older ones. */
  #dropOldest() {
    this.#events.length = LISTED;
    this.#from = this.#events.at(-1).seq - 1;
    this.#spare = [];
    this.#round += 1; // what a search still finds would come after a gap
    set(this.older, "disabled", false);
  }

  #draw() {
    this.table.show(this.#events, this.#store.now());
    const all = this.#from === 0 && this.#spare.length === 0;
    set(this.older, "hidden", all || this.#from === null);
    const back = all ? "the beginning" : `seq ${number(this.#spare.length ? this.#events.at(-1).seq : (this.#from ?? 0) + 1)}`;
    setText(this.searched, this.#events.length || this.#from !== null ? `${this.#events.length ? "" : "No such event. "}Searched back to ${back}.` : "");
  }
}

function contradictionOf({ why, old, new: newer, at }) {
  const side = (title, checkpoint) =>
    el(
      "div",
      {},
      el("h3", {}, title),
      checkpoint
        ? [
            factsOf([
              ["Size", checkpoint.size === null ? "?" : number(checkpoint.size)],
              ["Root", el("code", { class: "whole" }, checkpoint.root ?? "?")],
            ]),
            el("pre", { class: "mono note", tabindex: 0 }, checkpoint.note),
          ]
        : el("p", {}, "none"),
    );
  return el(
    "div",
    { class: "contradiction" },
    el("p", {}, el("strong", {}, `This is not the log that it was: ${why}.`), ` Found ${exactly(at)}. Keep both notes: together they show what the log’s key has signed. See docs/audit.md, and compare with a backup.`),
    el("div", { class: "two" }, side("Before", old), side("Then", newer)),
  );
}

const otherLog = (now) => ({ name, size, at }) => `${name}, ${number(size ?? 0)} events, seen ${when(at, now)}`;

customElements.define("board-log", BoardLog);

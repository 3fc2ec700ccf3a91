/**
 * Any moment of the past: the field that says of when the board is, the slider over the log's time,
 * and playing forward from there.
 *
 * Laws:
 * - While somebody scrubs, one moment is asked for at a time, and then the newest wish only.
 * - What is played is folded into the state that was loaded, event by event, at the pace of the
 *   events' own times; so what is shown at a seq is what `as_of` shows.
 * - The address keeps the moment. Back leads to where the scrubbing began.
 */

import { go, href, read } from "./address.js";
import { query } from "./api.js";
import { el, fill, set, setText } from "./dom.js";
import { dayOf, duration, when } from "./words.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const SPANS = [["hour", HOUR], ["24 h", DAY], ["week", 7 * DAY], ["month", 30 * DAY], ["all", null]];
const SPEEDS = [1, 10, 60, 600];
const STEPS = 2_000;
const PAGE = 2_000;
/** With fewer events than this at hand, more are asked for. */
const LOW = 500;
/** A frame that took longer, such as in a hidden tab, plays no further than this. */
const LONGEST_FRAME_MS = 250;
const KEEP_ADDRESS_MS = 1_000;

/** What a moment may be, for whoever wrote something else. */
export const FORMS = "now, -10 min, 09:14, yesterday 09:14, 2026-11-22 09:14, or a seq";

/**
 * The moment that a text means: null for now, else a seq or a time as `as_of` takes it. Times are
 * those of the reader's clock. Raises `RangeError`. `now` is in milliseconds.
 */
export function momentOf(text, now) {
  const given = text.trim().toLowerCase().replace(/^as of\s+/, "");
  if (given === "" || given === "now" || given === ".") return null;
  if (/^(seq\s*)?[\d\s\u202f]+$/.test(given)) return String(Number(given.replace(/\D/g, "")));
  const at = ago(given, now) ?? ofDay(given, now) ?? exact(text.trim());
  if (at === null) throw new RangeError(`A moment is ${FORMS}.`);
  return at >= now ? null : new Date(at).toISOString();
}

function ago(text, now) {
  const parts = /^[-−–]\s*(\d+(?:\.\d+)?)\s*(s|sec|m|min|h|hours?|d|days?)$|^(\d+(?:\.\d+)?)\s*(s|sec|m|min|h|hours?|d|days?)\s+ago$/.exec(text);
  if (!parts) return null;
  const unit = { s: 1000, m: MINUTE, h: HOUR, d: DAY }[(parts[2] ?? parts[4])[0]];
  return now - Number(parts[1] ?? parts[3]) * unit;
}

function ofDay(text, now) {
  const parts = /^(?:(today|yesterday)\s+)?(\d{1,2}):(\d{2})(?::(\d{2}))?(?:\s+(today|yesterday))?$/.exec(text);
  if (!parts || Number(parts[2]) > 23 || Number(parts[3]) > 59 || Number(parts[4] ?? 0) > 59) return null;
  const day = parts[1] ?? parts[5] ?? "today";
  const at = new Date(now);
  if (day === "yesterday") at.setDate(at.getDate() - 1);
  at.setHours(Number(parts[2]), Number(parts[3]), Number(parts[4] ?? 0), 0);
  return at.getTime();
}

function exact(text) {
  if (!/^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?$/i.test(text)) return null;
  const at = Date.parse(/\d{2}:\d{2}/.test(text) ? text.replace(" ", "T") : `${text}T00:00`);
  return Number.isNaN(at) ? null : at;
}

/** A moment in words: "09:14 yesterday". Both times are in milliseconds. */
export function inWords(at, now, { seconds = false } = {}) {
  const day = dayOf(at, now);
  return `${when(at, at, { seconds })}${day ? ` ${day}` : ""}`;
}

/** The events of `buffer`, from its front, that are due by a time; they are taken out of it. */
export function due(buffer, time) {
  let count = 0;
  while (count < buffer.length && !(Date.parse(buffer[count].time) > time)) count += 1;
  return buffer.splice(0, count);
}

export class Moments {
  #store;
  #wish = undefined; // the newest moment wished for; undefined: none
  #busy = false;
  #playing = null;
  #span = DAY;
  #first = null; // when the log begins, in milliseconds
  #edge = null; // the right end of the slider while it shows the past

  /** `field` is the place for the moment in the bar, `bar` that for the slider. */
  constructor(store, { field, bar }) {
    this.#store = store;
    this.field = el("input", { type: "text", id: "as-of", "aria-label": `As of: ${FORMS}`, title: FORMS, autocomplete: "off", spellcheck: "false", value: "now", onkeydown: (event) => event.key === "Escape" && this.field.blur(), onblur: () => this.draw() });
    this.trouble = el("span", { class: "moment-trouble", role: "alert" });
    fill(
      field,
      el("form", { class: "as-of", onsubmit: (event) => this.#onField(event) }, el("label", { for: "as-of", class: "weak" }, "as of"), this.field, this.trouble),
    );
    this.slider = el("input", { type: "range", min: 0, max: STEPS, step: 1, value: String(STEPS), "aria-label": "Moment", oninput: () => this.#onSlide() });
    this.spans = el("select", { "aria-label": "Span of the slider", onchange: () => this.#onSpan() }, SPANS.map(([text, span]) => el("option", { value: String(span), selected: span === DAY }, text)));
    this.speeds = el("select", { "aria-label": "Speed", onchange: () => this.#playing && (this.#playing.speed = Number(this.speeds.value)) }, SPEEDS.map((speed) => el("option", { value: String(speed), selected: speed === 60 }, `${speed}×`)));
    this.play = el("button", { type: "button", class: "button", onclick: () => this.#toggle() }, "Play");
    this.toNow = el("button", { type: "button", class: "button", title: "Back to now (.)", onclick: () => this.#go(null) }, "Now");
    this.from = el("span", { class: "weak time-from" });
    this.at = el("output", { class: "time-at" });
    fill(bar, el("div", { class: "time-bar", role: "group", "aria-label": "Moment that is shown" }, this.spans, this.from, this.slider, this.at, this.play, this.speeds, this.toNow));
  }

  /** Show the moment that the store shows. */
  draw() {
    const { moment } = this.#store;
    const now = Date.now() + this.#store.api.clockAheadMs;
    document.documentElement.toggleAttribute("data-past", moment !== null);
    if (moment === null) this.#edge = null;
    const at = this.#atOf(now);
    const text = moment === null ? "now" : inWords(at, now);
    if (document.activeElement !== this.field) {
      this.field.value = text;
      set(this.field, "aria-invalid", null);
      setText(this.trouble, "");
    }
    this.#drawSlider(at, now);
    set(this.play, "disabled", moment === null);
    set(this.toNow, "disabled", moment === null);
    setText(this.play, this.#playing ? "Pause" : "Play");
    setText(this.at, moment === null ? "now" : `as of ${inWords(at, now, { seconds: true })}`);
  }

  #atOf(now) {
    if (this.#playing) return this.#playing.time;
    const { moment, state } = this.#store;
    if (moment === null) return now;
    const wished = /^\d+$/.test(moment) ? NaN : Date.parse(moment);
    return Number.isNaN(wished) ? Date.parse(state.time ?? "") || now : wished;
  }

  #drawSlider(at, now) {
    const [from, to] = this.#ends(at, now);
    setText(this.from, inWords(from, now));
    if (document.activeElement !== this.slider || this.#playing || this.#wish === undefined) {
      this.slider.value = String(Math.round((STEPS * (at - from)) / Math.max(to - from, 1)));
    }
    set(this.slider, "aria-valuetext", at >= now ? "now" : `${inWords(at, now, { seconds: true })}, ${duration(now - at)} ago`);
  }

  /** The ends of the slider: now, and a span before; a moment before that makes the span longer. */
  #ends(at, now) {
    const to = (this.#edge ??= this.#store.moment === null ? null : now) ?? now;
    if (this.#span === null) return [Math.min(this.#first ?? to - DAY, at), to];
    const longer = SPANS.find(([, span]) => span !== null && span >= this.#span && to - span <= at);
    if (longer === undefined && this.#first === null) this.#askFirst();
    const from = longer === undefined ? Math.min(this.#first ?? at, at) : to - longer[1];
    return [from, to];
  }

  async #askFirst() {
    this.#first = Date.now() - 30 * DAY;
    const [event] = await this.#store.api.get(query("/events", { limit: 1 })).catch(() => []);
    if (event) this.#first = Date.parse(event.time);
    this.draw();
  }

  #onSpan() {
    this.#span = this.spans.value === "null" ? null : Number(this.spans.value);
    this.#edge = null;
    if (this.#span === null) this.#askFirst();
    this.draw();
  }

  #onSlide() {
    this.#pause();
    const now = Date.now() + this.#store.api.clockAheadMs;
    const [from, to] = this.#ends(this.#atOf(now), now);
    const value = Number(this.slider.value);
    const at = from + ((to - from) * value) / STEPS;
    set(this.slider, "aria-valuetext", value >= STEPS ? "now" : inWords(at, now, { seconds: true }));
    setText(this.at, value >= STEPS ? "now" : `as of ${inWords(at, now, { seconds: true })}`);
    this.#go(value >= STEPS ? null : new Date(at).toISOString());
  }

  #onField(event) {
    event.preventDefault();
    try {
      const moment = momentOf(this.field.value, Date.now() + this.#store.api.clockAheadMs);
      this.field.blur();
      this.#go(moment);
    } catch (error) {
      set(this.field, "aria-invalid", "true");
      setText(this.trouble, error.message);
    }
  }

  /** Go to a moment, when the one before it is there; of many wishes only the newest is asked for. */
  async #go(moment) {
    this.#wish = moment;
    if (this.#busy) return;
    this.#busy = true;
    while (this.#wish !== undefined) {
      const wish = this.#wish;
      this.#wish = undefined;
      if (wish !== this.#store.moment) {
        go(href({ ...read(), moment: wish }), { replace: this.#store.moment !== null && wish !== null });
        await this.#loaded();
      }
    }
    this.#busy = false;
    this.draw();
  }

  #loaded() {
    return new Promise((resolve) => {
      const end = this.#store.subscribe(() => {
        if (this.#store.loading) return;
        end();
        resolve();
      });
      if (!this.#store.loading) {
        end();
        resolve();
      }
    });
  }

  // Playing

  #toggle() {
    if (this.#playing) this.#pause();
    else if (this.#store.moment !== null && !this.#store.loading) this.#start();
    this.draw();
  }

  #start() {
    const now = Date.now();
    this.#playing = {
      speed: Number(this.speeds.value),
      time: this.#atOf(now),
      last: performance.now(),
      buffer: [],
      next: query("/events", { after: this.#store.state.seq, limit: PAGE }),
      isAsking: false,
      keptAt: performance.now(),
    };
    this.#fetch(this.#playing);
    requestAnimationFrame((at) => this.#frame(this.#playing, at));
  }

  /** Stop playing, where it is; the address says where. */
  #pause() {
    if (this.#playing) this.#keepAddress();
    this.#playing = null;
  }

  /** Stop playing, because the address leads elsewhere. Gives whether it played. */
  stop() {
    const played = this.#playing !== null;
    this.#playing = null;
    return played;
  }

  #frame(playing, at) {
    if (playing === null || playing !== this.#playing) return;
    const passed = Math.min(Math.max(at - playing.last, 0), LONGEST_FRAME_MS) * playing.speed;
    playing.last = at;
    const known = playing.next === null ? Infinity : Date.parse(playing.buffer.at(-1)?.time ?? "") || playing.time;
    playing.time = Math.max(playing.time, Math.min(playing.time + passed, known));
    const events = due(playing.buffer, playing.time);
    if (events.length) this.#store.play(events);
    if (playing.buffer.length < LOW) this.#fetch(playing);
    if (playing.next === null && playing.buffer.length === 0 && playing.time >= Date.now() + this.#store.api.clockAheadMs) {
      this.#playing = null;
      return void this.#go(null);
    }
    if (at - playing.keptAt > KEEP_ADDRESS_MS) {
      playing.keptAt = at;
      this.#keepAddress();
    }
    this.draw();
    requestAnimationFrame((next) => this.#frame(playing, next));
  }

  async #fetch(playing) {
    if (playing.isAsking || playing.next === null) return;
    playing.isAsking = true;
    try {
      const page = await this.#store.api.page(playing.next);
      playing.buffer.push(...page.items);
      playing.next = page.next;
      playing.isAsking = false;
    } catch (error) {
      if (playing !== this.#playing) return;
      this.#pause();
      this.draw();
      setText(this.at, error.text ?? error.message);
    }
  }

  /** Keep in the address what is shown, without loading it. */
  #keepAddress() {
    const moment = String(this.#store.state.seq);
    this.#store.moment = moment;
    window.history.replaceState(null, "", href({ ...read(), moment }));
  }
}

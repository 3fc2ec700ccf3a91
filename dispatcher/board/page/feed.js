/**
 * The live feed: `GET /events/stream`, read through fetch because EventSource sends no key.
 *
 * Laws:
 * - Every event after `after` is given once and in order, wherever the stream was cut: a new one
 *   begins after the last event that was given.
 * - An error of whoever takes the events is not one of the connection: it is reported, and everything
 *   is loaded anew.
 * - A stream that is silent for longer than two pings is dead, and is begun again.
 * - It never gives up: it tries again after 1 s, then twice as long, up to 15 s, and at once when
 *   the browser says that it is online again.
 */

import { ApiError } from "./api.js";

const SILENCE_MS = 40_000; // the dispatcher pings every 15 s
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
/** Before everything is loaded anew because of an error, which may come again. */
export const AFTER_ERROR_MS = 2_000;

export class Feed {
  #api;
  #heard;
  #stop = new AbortController();

  /**
   * `heard` has what is told: `events(list)`, `connected()`, `lost(error)`, and `beyond()` when the
   * log ends before `after`, and so is another one. After `broken()` all must be loaded anew, because
   * `events` has failed.
   */
  constructor(api, after, heard) {
    this.#api = api;
    this.#heard = heard;
    this.after = after;
  }

  /** Reads until `stop` is called. */
  async run() {
    let pause = FIRST_PAUSE_MS;
    while (!this.#stop.signal.aborted) {
      try {
        await this.#read(() => {
          pause = FIRST_PAUSE_MS;
        });
        this.#heard.lost(null); // the dispatcher ends its streams when it stops
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        if (error instanceof ApiError && error.status === 400) return void this.#heard.beyond();
        if (!isOfConnection(error)) {
          reportError(error);
          await this.#rest(AFTER_ERROR_MS);
          if (!this.#stop.signal.aborted) this.#heard.broken();
          return;
        }
        this.#heard.lost(error);
        if (error instanceof ApiError && [401, 403].includes(error.status)) return;
      }
      await this.#rest(pause * (0.75 + Math.random() / 2));
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    }
  }

  stop() {
    this.#stop.abort();
  }

  async #read(begun) {
    const silence = new AbortController();
    let timer = setTimeout(() => silence.abort(), SILENCE_MS);
    const signal = AbortSignal.any([this.#stop.signal, silence.signal]);
    try {
      const response = await this.#api.request("/events/stream", {
        headers: { "Last-Event-ID": String(this.after) },
        signal,
      });
      begun();
      this.#heard.connected();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read().catch(toCut);
        if (done) return;
        clearTimeout(timer);
        timer = setTimeout(() => silence.abort(), SILENCE_MS);
        const { events, left } = parse(rest + value);
        rest = left;
        const fresh = events.filter(({ seq }) => seq > this.after);
        if (fresh.length === 0) continue;
        this.#heard.events(fresh);
        this.after = fresh[fresh.length - 1].seq;
      }
    } finally {
      clearTimeout(timer);
    }
  }

  #rest(ms) {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        globalThis.removeEventListener("online", end);
        this.#stop.signal.removeEventListener("abort", end);
        resolve();
      };
      const timer = setTimeout(end, ms);
      globalThis.addEventListener("online", end);
      this.#stop.signal.addEventListener("abort", end);
    });
  }
}

const isOfConnection = (error) => error instanceof ApiError || error.name === "AbortError";

function toCut(error) {
  if (error.name === "AbortError") throw error;
  throw new ApiError(0, "The connection was cut.");
}

/** Splits a text of server-sent events: `{events, left}`, where `left` is the block not yet whole. */
export function parse(text) {
  const end = text.lastIndexOf("\n\n");
  if (end < 0) return { events: [], left: text };
  const events = [];
  for (const line of text.slice(0, end).split("\n")) {
    if (line.startsWith("data:")) events.push(JSON.parse(line.slice(5)));
  }
  return { events, left: text.slice(end + 2) };
}

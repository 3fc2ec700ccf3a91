/**
 * What the dispatcher expects (`GET /statistics/forecast`): when running jobs are done, in which
 * order the waiting ones begin, and when all is done.
 *
 * It is asked for again when something has happened that changes it, and not more often than every
 * `LEAST_MS`; nothing is polled, and a hidden tab asks for nothing. Without an answer the board shows what it knows itself.
 */

import { query } from "./api.js";

const LEAST_MS = 4_000;
const LIMIT = 200;
const CHANGING = new Set([
  "job_submitted",
  "job_assigned",
  "job_completed",
  "job_requeued",
  "job_failed_permanently",
  "job_cancelled",
  "job_retried",
  "job_reprioritized",
  "job_released",
  "job_split",
  "job_made_whole",
  "engine_blocked",
  "engine_unblocked",
  "engine_drained",
  "engine_resumed",
  "engine_lost",
  "engine_forgotten",
]);

export class Forecast {
  /** The newest answer, or null. */
  now = null;
  #store;
  #changed;
  #timer = null;
  #asking = false;
  #round = null; // of the store, for which it was asked
  #expected = new Map();
  #unlisten;

  /** `changed()` is called when there is another forecast. */
  constructor(store, changed) {
    this.#store = store;
    this.#changed = changed;
    this.#unlisten = store.listen((events) => {
      if (events.some(({ type }) => CHANGING.has(type))) this.#soon();
    });
  }

  stop() {
    clearTimeout(this.#timer);
    this.#unlisten();
    this.#store = null;
  }

  /** Asks at once, if what is shown was loaded anew, or was due while nobody looked. */
  refresh() {
    if (this.#store.loading || this.#round === this.#store.round) return;
    this.#round = this.#store.round;
    this.#ask();
  }

  /** When a running job is expected to be done, or null. */
  expectedAt(id) {
    return this.#expected.get(id) ?? null;
  }

  #soon() {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      if (document.hidden) this.#round = null;
      else this.#ask();
    }, LEAST_MS);
  }

  async #ask() {
    if (this.#asking || this.#store === null) return;
    this.#asking = true;
    const store = this.#store;
    try {
      const asked = { limit: LIMIT, as_of: store.asOf };
      const found = await store.api.get(query("/statistics/forecast", asked));
      this.now = found;
      this.#expected = new Map(
        [...found.running, ...found.waiting].map((job) => [job.job_id, job.expected_at]),
      );
    } catch (error) {
      if (error.status !== 0) {
        this.now = null;
        this.#expected.clear();
      } // else the connection is lost, and what is shown is from then
    }
    this.#asking = false;
    if (this.#store !== null) this.#changed();
  }
}

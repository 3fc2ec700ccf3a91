/**
 * The live feed of a tab: by the stream that all tabs of the browser share, or by one of its own in a
 * browser that has no shared workers.
 */

import { ApiError } from "./api.js";
import { AFTER_ERROR_MS, Feed } from "./feed.js";
import { sharedWorker } from "./workers.js";

/** Makes a feed; the arguments are those of `Feed`. */
export function feedOf(api, after, heard) {
  return globalThis.SharedWorker === undefined ? new Feed(api, after, heard) : new SharedFeed(api, after, heard);
}

class SharedFeed {
  #api;
  #heard;
  #after;
  #port = null;
  #own = null; // a stream of this tab alone, where the worker could not be started

  constructor(api, after, heard) {
    this.#api = api;
    this.#after = after;
    this.#heard = heard;
  }

  run() {
    const hub = sharedWorker("hub");
    hub.addEventListener("error", () => this.#alone());
    this.#port = hub.port;
    this.#port.addEventListener("message", ({ data }) => this.#told(data));
    this.#port.start();
    this.#port.postMessage({ key: this.#api.key, after: this.#after });
  }

  stop() {
    this.#own?.stop();
    this.#port?.postMessage({ bye: true });
    this.#port?.close();
    this.#port = null;
  }

  #told({ events, connected, lost, beyond }) {
    if (this.#port === null) return;
    if (connected) this.#heard.connected();
    else if (beyond) this.#heard.beyond();
    else if (events !== undefined) this.#take(events);
    else {
      const error = lost && asError(lost);
      if (error?.status === 401) this.#api.onRefused(error);
      this.#heard.lost(error);
    }
  }

  #take(events) {
    try {
      this.#heard.events(events);
      this.#after = events.at(-1).seq;
    } catch (error) {
      this.stop();
      reportError(error);
      setTimeout(() => this.#heard.broken(), AFTER_ERROR_MS);
    }
  }

  #alone() {
    if (this.#port === null || this.#own !== null) return;
    this.stop();
    this.#own = new Feed(this.#api, this.#after, this.#heard);
    this.#own.run();
  }
}

const asError = ({ status, text }) => new ApiError(status, text);

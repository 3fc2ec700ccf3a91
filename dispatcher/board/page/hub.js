/**
 * A shared worker: one stream of events for all tabs of a browser, which opens only six connections
 * to one dispatcher.
 *
 * A tab sends `{key, after}` through its port, and gets what `Feed` tells: `{events}`, `{connected}`,
 * `{lost}` and `{beyond}`. `{bye}` ends that.
 *
 * Laws:
 * - Tabs share a stream if they have the same key. What comes with one key goes to no tab with
 *   another.
 * - Each tab is given every event after its `after` once and in order. If the stream is beyond that
 *   and the events are not kept, it begins anew from there; the other tabs are not given them again.
 * - Without a tab there is no stream.
 */

import { Api } from "./api.js";
import { Feed } from "./feed.js";

/** As many of the newest events are kept for tabs that come later. */
const KEPT = 5_000;

const streams = new Map(); // key → Stream

class Stream {
  #key;
  #feed = null;
  #isConnected = false;
  #tabs = new Map(); // port → the seq of the last event that it has
  #recent = []; // all events after `#from`, oldest first
  #from = 0;

  constructor(key) {
    this.#key = key;
  }

  join(port, after) {
    this.#tabs.set(port, after);
    if (this.#feed === null || after < this.#from) return this.#begin(after);
    if (this.#isConnected) port.postMessage({ connected: true });
    this.#give(port, this.#recent);
  }

  leave(port) {
    this.#tabs.delete(port);
    if (this.#tabs.size > 0) return;
    this.#stop();
    streams.delete(this.#key);
  }

  #begin(after) {
    this.#stop();
    this.#from = after;
    const own = (act) => (told) => feed === this.#feed && act(told);
    const feed = new Feed(new Api(this.#key), after, {
      events: own((events) => this.#take(events)),
      connected: own(() => {
        this.#isConnected = true;
        this.#tell({ connected: true });
      }),
      lost: own((error) => {
        this.#isConnected = false;
        const told = error && { status: error.status ?? 0, text: error.text ?? error.message };
        this.#tell({ lost: told ?? null });
        if (told?.status === 401 || told?.status === 403) this.#stop(); // it does not try again
      }),
      beyond: own(() => {
        this.#stop();
        this.#tell({ beyond: true });
      }),
      broken: own(() => this.#begin(this.#from)),
    });
    this.#feed = feed;
    feed.run();
  }

  #stop() {
    this.#feed?.stop();
    this.#feed = null;
    this.#isConnected = false;
    this.#recent = [];
  }

  #take(events) {
    this.#recent.push(...events);
    if (this.#recent.length > KEPT) {
      const gone = this.#recent.splice(0, this.#recent.length - KEPT / 2);
      this.#from = gone.at(-1).seq;
    }
    for (const port of this.#tabs.keys()) this.#give(port, events);
  }

  #give(port, events) {
    const after = this.#tabs.get(port);
    const fresh = events.filter(({ seq }) => seq > after);
    if (fresh.length === 0) return;
    port.postMessage({ events: fresh });
    this.#tabs.set(port, fresh.at(-1).seq);
  }

  #tell(message) {
    for (const port of this.#tabs.keys()) port.postMessage(message);
  }
}

self.addEventListener("connect", ({ ports: [port] }) => {
  let stream = null;
  port.addEventListener("message", ({ data }) => {
    stream?.leave(port);
    stream = null;
    if (data.bye) return port.close();
    if (!streams.has(data.key)) streams.set(data.key, new Stream(data.key));
    stream = streams.get(data.key);
    stream.join(port, data.after);
  });
  port.start();
});

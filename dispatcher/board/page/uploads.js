/**
 * The files that somebody has chosen to upload, and how far each is.
 *
 * Laws:
 * - They go on while other views are shown: only leaving the page ends them, and that asks.
 * - A file that was refused or could not be read stays, with the reason, until it is tried again or
 *   taken away.
 */

import { send, sha256Of } from "./upload.js";

const AT_ONCE = 2; // one is hashed while another is sent
const UNDER_WAY = new Set(["waiting", "reading", "sending"]);

/** One file. `state` is waiting, reading, sending, done or failed; `error` says why it failed. */
class Upload {
  state = "waiting";
  done = 0;
  waits = null;
  error = null;
  isRefused = false; // by the page: nothing can come of it
  sha256 = null;
  since = 0;
  sent = 0;
  ending = new AbortController();

  constructor(file) {
    this.file = file;
  }

  /** What a job's source is called, once the file is there. */
  get url() {
    const name = encodeURIComponent(this.file.name.toWellFormed());
    return `store:${this.sha256}/${name}`;
  }

  /** Bytes a second since the sending began; NaN before something has come. */
  get speed() {
    const seconds = (performance.now() - this.since) / 1_000;
    return this.state === "sending" && this.sent > 0 && seconds >= 1 ? this.sent / seconds : NaN;
  }
}

/** The files, in the order in which they were chosen; "change" tells that one is further. */
class Uploads extends EventTarget {
  list = [];
  #api;
  #guard = (event) => event.preventDefault();

  constructor(api) {
    super();
    this.#api = api;
  }

  get underWay() {
    return this.list.filter(({ state }) => UNDER_WAY.has(state));
  }

  /** Takes files, but none of them twice. `refusal(file)` says why one can't be taken, or null. */
  add(files, refusal = () => null) {
    const isKnown = (file) => this.list.some((it) => isSame(it.file, file));
    for (const file of files) {
      if (isKnown(file)) continue;
      const upload = new Upload(file);
      upload.error = refusal(file);
      upload.isRefused = upload.error !== null;
      if (upload.isRefused) upload.state = "failed";
      this.list.push(upload);
    }
    this.#changed();
  }

  /** Ends an upload and takes it off the list. What has come of it is used if it is begun again. */
  remove(upload) {
    this.list = this.list.filter((it) => it !== upload);
    upload.ending.abort();
    this.#changed();
  }

  again(upload) {
    Object.assign(upload, { state: "waiting", done: 0, error: null });
    this.#changed();
  }

  /** Waits until none is under way. */
  settled() {
    return new Promise((resolve) => {
      const look = () => {
        if (this.underWay.length > 0) return;
        this.removeEventListener("change", look);
        resolve();
      };
      this.addEventListener("change", look);
      look();
    });
  }

  #changed() {
    const waiting = this.list.filter(({ state }) => state === "waiting");
    const free = Math.max(AT_ONCE - (this.underWay.length - waiting.length), 0);
    for (const upload of waiting.slice(0, free)) this.#run(upload);
    if (this.underWay.length > 0) window.addEventListener("beforeunload", this.#guard);
    else window.removeEventListener("beforeunload", this.#guard);
    this.dispatchEvent(new Event("change"));
  }

  async #run(upload) {
    const { file, ending } = upload;
    const { signal } = ending;
    const tell = (fields) => {
      Object.assign(upload, fields);
      this.dispatchEvent(new Event("change"));
    };
    try {
      upload.state = "reading";
      upload.sha256 ??= await sha256Of(file, { signal, told: (done) => tell({ done }) });
      tell({ state: "sending", done: 0, sent: 0, since: performance.now() });
      let from = null; // what was there before is no speed
      const told = ({ done, waits }) => {
        from ??= waits === null ? done : null;
        tell({ done, waits, sent: done - (from ?? done) });
      };
      await send(this.#api, file, upload.sha256, { signal, told });
      Object.assign(upload, { state: "done", waits: null });
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.status === 400) upload.sha256 = null; // it has changed since it was read
      Object.assign(upload, { state: "failed", waits: null, error: error.text ?? error.message });
    }
    this.#changed();
  }
}

let uploads = null;

/** The uploads of this page. */
export function uploadsOf(store) {
  uploads ??= new Uploads(store.api);
  return uploads;
}

const isSame = (one, other) =>
  one.name === other.name && one.size === other.size && one.lastModified === other.lastModified;

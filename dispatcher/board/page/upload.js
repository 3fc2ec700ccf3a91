/**
 * A file on its way to the dispatcher's store, named by its SHA-256 (`PUT /store/{name}`).
 *
 * Laws:
 * - What was sent once is not sent again: the dispatcher says how far an upload is, whoever began it
 *   and whenever, and of a file that is there nothing is sent.
 * - While the dispatcher is away or busy it is asked again, until somebody ends the upload. Only a
 *   refusal ends it at once.
 * - A part takes about a second, so that one sees it move; a part that is lost costs no more.
 */

import { ApiError, offsetOf, path } from "./api.js";
import { worker } from "./workers.js";

const LEAST_PART = 256 << 10;
const MOST_PART = 32 << 20;
const [SHORT_MS, LONG_MS] = [700, 2_500];
const PAUSES_MS = [500, 1_000, 2_000, 4_000, 8_000];
/** Of a file that another request adds to. */
const BUSY_MS = 1_000;
const AWAY = new Set([0, 408, 429, 502, 503, 504]);

/** The file can't be read as it was when it was chosen. */
export class ChangedError extends Error {
  constructor(name) {
    super(`${name} can’t be read any more: it was changed, moved or taken away. Choose it again.`);
    this.name = "ChangedError";
  }
}

/** Hashes a file in a worker; `told` is called with the number of bytes that are done. */
export function sha256Of(file, { told = () => {}, signal = null } = {}) {
  return new Promise((resolve, reject) => {
    const hashing = worker("hashing");
    const end = (settle, value) => {
      signal?.removeEventListener("abort", stop);
      hashing.terminate();
      settle(value);
    };
    const stop = () => end(reject, new DOMException("Nobody wants it any more.", "AbortError"));
    signal?.addEventListener("abort", stop);
    hashing.addEventListener("message", ({ data }) => {
      if (data.done !== undefined) told(data.done);
      else if (data.sha256 !== undefined) end(resolve, data.sha256);
      else end(reject, new ChangedError(file.name));
    });
    hashing.addEventListener("error", (event) => {
      event.preventDefault();
      end(reject, new Error("The page's files can't be loaded. Reload the page."));
    });
    if (signal?.aborted) stop();
    else hashing.postMessage(file);
  });
}

/**
 * Sends a file that has this SHA-256. `told` is called with `{done, waits}`: the bytes that are
 * there, and why nothing moves, in words, or null. Raises `ApiError` if the dispatcher refuses,
 * `ChangedError`, and `AbortError` after `signal`.
 */
export async function send(api, file, sha256, { told = () => {}, signal = null } = {}) {
  const to = path`/store/${sha256}`;
  let [at, part, failures, isAnew] = [0, LEAST_PART, 0, false];
  for (;;) {
    const end = isAnew ? file.size : Math.min(at + part, file.size);
    const headers = isAnew || file.size === 0 ? {} : { "Content-Range": rangeOf(at, end, file.size) };
    const begun = performance.now();
    try {
      const response = await api.request(to, { method: "PUT", body: file.slice(at, end), headers, signal });
      if (response.status !== 202) return void told({ done: file.size, waits: null });
      at = offsetOf(response) ?? end;
      failures = 0;
      const tookMs = performance.now() - begun;
      if (tookMs < SHORT_MS) part = Math.min(part * 2, MOST_PART);
      else if (tookMs > LONG_MS) part = Math.max(part / 2, LEAST_PART);
      told({ done: at, waits: null });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      await requireUnchanged(file, at);
      if (error.status === 409 && error.offset !== null) {
        isAnew = error.offset > file.size; // what has come is of something else
        at = isAnew ? 0 : error.offset;
        told({ done: at, waits: null });
      } else if (error.status === 409 || AWAY.has(error.status)) {
        const pauseMs = error.status === 409 ? BUSY_MS : (PAUSES_MS[failures] ?? PAUSES_MS.at(-1));
        if (error.status !== 409) told({ done: at, waits: error.text });
        failures += 1;
        part = LEAST_PART;
        await rest(Math.max(pauseMs, (error.retryAfterS ?? 0) * 1_000), signal);
      } else throw error;
    }
  }
}

/** The bytes from `at` to before `end`; without any, that all has been sent. */
const rangeOf = (at, end, size) => (end > at ? `bytes ${at}-${end - 1}/${size}` : `bytes */${size}`);

/** A file that has changed fails like a connection; reading a byte of it tells them apart. */
async function requireUnchanged(file, at) {
  try {
    await file.slice(at, at + 1).arrayBuffer();
  } catch {
    throw new ChangedError(file.name);
  }
}

function rest(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(end, ms);
    function end() {
      clearTimeout(timer);
      window.removeEventListener("online", end);
      signal?.removeEventListener("abort", end);
      if (signal?.aborted) reject(signal.reason);
      else resolve();
    }
    window.addEventListener("online", end);
    signal?.addEventListener("abort", end);
  });
}

/**
 * A worker that hashes a file, so that the page can be used meanwhile.
 *
 * It is sent a `File`, tells `{done}`, the number of bytes so far, and at the end `{sha256}` or
 * `{error}`. Whoever does not want the digest any more ends the worker.
 */

import { Sha256 } from "./sha256.js";

const PIECE = 4 << 20;

self.addEventListener("message", async ({ data: file }) => {
  try {
    const digest = new Sha256();
    for (let at = 0; at < file.size; at += PIECE) {
      digest.update(new Uint8Array(await file.slice(at, at + PIECE).arrayBuffer()));
      self.postMessage({ done: Math.min(at + PIECE, file.size) });
    }
    self.postMessage({ sha256: digest.hex() });
  } catch (error) {
    self.postMessage({ error: error.name });
  }
});

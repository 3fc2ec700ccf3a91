/**
 * Whether the log has only grown since this browser last saw it.
 *
 * Laws:
 * - What the browser remembers is the newest checkpoint that it has checked, for each key of a log
 *   that it met at this address, in localStorage. There is no secret in it.
 * - There are three outcomes. Verified: a proof led from the older root to the newer one. Refuted: the
 *   log's own signatures or proofs contradict each other. Anything else, such as a lost connection,
 *   decides nothing and is told as an error.
 * - A refutation stays, with both notes, also in other tabs and after a reload. The page has no
 *   button that takes it away.
 */

import { parseKey, pastedNote, readNote, verifiedCheckpoint } from "./checkpoint.js";
import { NoCryptoError, NotProvedError, checkConsistency, hashIn } from "./merkle.js";

const KEPT = "board.log.";

/**
 * The proof's state is `{key, logs, seen, now, outcome, refuted, error}`: the log's key, other logs
 * that were met at this address, the checkpoint that was remembered before and the newest one, and
 * the outcome of the last look: null, `{kind: "remembered" | "verified", from, to, at}`. `refuted` is
 * null or `{why, old, new, at}`, with both checkpoints.
 */
export class Proof extends EventTarget {
  constructor(ask, storage = globalThis.localStorage) {
    super();
    this.ask = ask; // gives the text of a path of the API
    this.storage = storage;
    this.state = { key: null, others: [], now: null, outcome: null, refuted: null, error: null };
    this.pending = null;
  }

  /** grey: not looked at; accent: verified; red: refuted. */
  get colour() {
    if (this.state.refuted) return "red";
    return this.state.outcome?.kind === "verified" ? "accent" : "grey";
  }

  /** Compare the log with a checkpoint that was pasted, or else with the one remembered. */
  async verify(pasted = null) {
    while (this.pending) await this.pending;
    this.pending = this.#verify(pasted).finally(() => (this.pending = null));
    return this.pending;
  }

  async #verify(pasted) {
    const state = { ...this.state, error: null };
    try {
      const key = await parseKey(await this.ask("/log/key"));
      Object.assign(state, { key, others: this.#others(key), refuted: this.#kept(key).refuted ?? null });
      const older = await this.#older(key, pasted);
      const note = await this.ask("/log/checkpoint");
      await this.#compare(state, older, note);
    } catch (error) {
      if (error instanceof NoCryptoError) state.now = said(await this.ask("/log/checkpoint"));
      state.error = error.text ?? error.message;
    }
    this.state = state;
    this.dispatchEvent(new Event("change"));
    return state;
  }

  async #older(key, pasted) {
    if (pasted !== null) return verifiedCheckpoint(pastedNote(pasted), key, "what was pasted");
    const { seen } = this.#kept(key);
    return seen ? verifiedCheckpoint(seen, key, "the checkpoint that was remembered") : null;
  }

  async #compare(state, older, note) {
    const { key } = state;
    const at = new Date().toISOString();
    try {
      const now = await verifiedCheckpoint(note, key);
      state.now = now;
      if (older?.size) await this.#grown(older, now);
      const kind = older?.size ? "verified" : "remembered";
      state.outcome = { kind, from: older?.size ?? 0, to: now.size, at };
      this.#keep(key, { seen: note, size: now.size, at });
    } catch (error) {
      if (!(error instanceof NotProvedError)) throw error;
      state.refuted ??= { why: error.message, old: older, new: said(note), at };
      state.outcome = null;
      this.#keep(key, { refuted: state.refuted });
    }
  }

  async #grown(older, now) {
    if (older.size > now.size) {
      throw new NotProvedError(`the log has ${now.size} events, and had ${older.size} before`);
    }
    if (older.size === now.size) {
      if (older.root === now.root) return;
      throw new NotProvedError(`two different logs of ${now.size} events were signed`);
    }
    const text = await this.ask(`/log/consistency?from=${older.size}&to=${now.size}`);
    await checkConsistency(
      {
        from: older.size,
        to: now.size,
        oldRoot: hashIn(older.root, "the older root"),
        newRoot: hashIn(now.root, "the newer root"),
      },
      parsed(text),
    );
  }

  #kept(key) {
    return parsed(this.storage.getItem(KEPT + key.text)) ?? {};
  }

  /** Read again before writing: another tab may have refuted it, which stays. */
  #keep(key, news) {
    const kept = { ...this.#kept(key), ...news };
    if (this.#kept(key).refuted) kept.refuted = this.#kept(key).refuted;
    this.storage.setItem(KEPT + key.text, JSON.stringify(kept));
  }

  #others(key) {
    const names = Object.keys(this.storage).filter((name) => name.startsWith(KEPT));
    return names
      .map((name) => name.slice(KEPT.length))
      .filter((text) => text !== key.text)
      .map((text) => ({ name: text.split("+")[0], ...this.#kept({ text }) }));
  }
}

function said(note) {
  try {
    return readNote(note);
  } catch {
    return { origin: null, size: null, root: null, note };
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * Whether the log has only grown since this browser last saw it.
 *
 * Laws:
 * - What the browser remembers is the newest checkpoint that it has checked, for each key of a log
 *   that it met at this address, in localStorage. There is no secret in it.
 * - There are four outcomes. Verified: a proof led from the older root to the newer one. Refuted: of
 *   two notes that the log's key has signed, either both are of the same size and have different
 *   roots, or a whole proof from one to the other leads elsewhere. Behind: the log has fewer events
 *   than before, as a replica or a restored log may. Anything else, such as a lost connection or the
 *   answer of a proxy, decides nothing and is told as an error.
 * - A log with another key than the one that this address had is an alarm: whoever replaces a log
 *   together with its key could hide anything. It lasts until the former log is back, or a person
 *   takes the new one as that of this address.
 * - A refutation stays, with both notes, also in other tabs and after a reload. The page has no
 *   button that takes it away.
 */

import { parseKey, pastedNote, readNote, verifiedCheckpoint } from "./checkpoint.js";
import { ContradictionError, NoCryptoError, checkConsistency, hashIn } from "./merkle.js";

const KEPT = "board.log.";
/** Where the key of the log of this address is kept. */
const HERE = "board.log of this address";

/**
 * The proof's state is `{key, others, now, outcome, behind, refuted, error}`: the log's key, other
 * logs that were met at this address, the newest checkpoint, and what the last look came to. That is
 * one of `outcome`, `{kind: "remembered" | "verified" | "begun", from, to, at}`, `behind`,
 * `{old, now, isRemembered}` with both checkpoints, and `error`, a text; the others are null. What
 * comparing with a pasted checkpoint came to is apart from that, in `pasted`, with the same three.
 * `refuted` is null or `{why, old, new, at}`, with both checkpoints, and `replaced` is null or
 * `{name, size, at}` of the log that this address had.
 */
export class Proof extends EventTarget {
  constructor(ask, storage = globalThis.localStorage) {
    super();
    this.ask = ask; // gives the text of a path of the API
    this.storage = storage;
    this.state = { key: null, others: [], now: null, outcome: null, behind: null, refuted: null, replaced: null, error: null, pasted: null };
    this.pending = null;
  }

  /** grey: not looked at; accent: verified; red: refuted. */
  get colour() {
    if (this.state.refuted || this.state.replaced) return "red";
    return this.state.outcome?.kind === "verified" ? "accent" : "grey";
  }

  /** Compare the log with a checkpoint that was pasted, or else with the one remembered. */
  async verify(pasted = null) {
    while (this.pending) await this.pending;
    this.pending = this.#verify(pasted).finally(() => (this.pending = null));
    return this.pending;
  }

  async #verify(pasted) {
    const state = { ...this.state };
    const found = { outcome: null, behind: null, error: null };
    try {
      const key = await parseKey(await this.ask("/log/key"));
      Object.assign(state, {
        key,
        others: this.#others(key),
        refuted: this.#kept(key).refuted ?? null,
        replaced: this.#replaced(key),
      });
      const older = await this.#older(key, pasted);
      const note = await this.ask("/log/checkpoint");
      await this.#compare(state, found, older, note, pasted === null);
    } catch (error) {
      if (error instanceof NoCryptoError) state.now = said(await this.ask("/log/checkpoint"));
      found.error = error.text ?? error.message;
    }
    if (pasted === null) Object.assign(state, found);
    else state.pasted = found;
    this.state = state;
    this.dispatchEvent(new Event("change"));
    return state;
  }

  /** Forget what the last look came to: the log may be another one now. */
  doubt() {
    this.state = { ...this.state, outcome: null, behind: null, error: null, pasted: null };
    this.dispatchEvent(new Event("change"));
  }

  /** Take the log as it is, which is behind what was seen, as the one to compare with from now on. */
  begin() {
    const { key, behind } = this.state;
    if (!behind?.isRemembered) return;
    const at = new Date().toISOString();
    const { note, size } = behind.now;
    this.#keep(key, { seen: note, size, at });
    this.state = { ...this.state, behind: null, outcome: { kind: "begun", from: 0, to: size, at } };
    this.dispatchEvent(new Event("change"));
  }

  /** Take the log with its new key as that of this address. */
  accept() {
    this.storage.setItem(HERE, this.state.key.text);
    this.state = { ...this.state, replaced: null };
    this.dispatchEvent(new Event("change"));
  }

  /** What this address had before, if it is another log now, or null. */
  #replaced(key) {
    const former = this.storage.getItem(HERE) ?? key.text;
    if (former !== key.text) return { name: nameOf(former), ...this.#kept({ text: former }) };
    this.storage.setItem(HERE, former);
    return null;
  }

  async #older(key, pasted) {
    if (pasted !== null) return verifiedCheckpoint(pastedNote(pasted), key, "what was pasted");
    const { seen } = this.#kept(key);
    return seen ? verifiedCheckpoint(seen, key, "the checkpoint that was remembered") : null;
  }

  async #compare(state, found, older, note, isRemembered) {
    const { key } = state;
    const at = new Date().toISOString();
    const now = await verifiedCheckpoint(note, key);
    state.now = now;
    if (older !== null && older.size > now.size) {
      found.behind = { old: older, now, isRemembered };
      return;
    }
    try {
      if (older?.size) await this.#grown(older, now);
    } catch (error) {
      if (!(error instanceof ContradictionError)) throw error;
      state.refuted ??= { why: error.message, old: older, new: now, at };
      this.#keep(key, { refuted: state.refuted });
      return;
    }
    const kind = older?.size ? "verified" : "remembered";
    found.outcome = { kind, from: older?.size ?? 0, to: now.size, at, isPasted: !isRemembered };
    // What was pasted says nothing of what was seen, so that stays what the next look begins from.
    if (isRemembered || !this.#kept(key).seen) this.#keep(key, { seen: note, size: now.size, at });
  }

  async #grown(older, now) {
    if (older.size === now.size) {
      if (older.root === now.root) return;
      throw new ContradictionError(`two different logs of ${now.size} events were signed`);
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
      .map((text) => ({ name: nameOf(text), ...this.#kept({ text }) }));
  }
}

const nameOf = (keyText) => keyText.split("+")[0];

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
